"""Sockets of the resolver proxy towards the servers that its clients wanted."""

import socket

from shieldwall_agent.enforcement.conntrack import Flow
from shieldwall_agent.enforcement.name_redirect import MARK

LOOPBACK_INDEX = 1  # of the interface, in every network namespace

_BIND_ADDRESS_NO_PORT = 24
_BIND_TO_INTERFACE = 62


def outgoing(flow: Flow, interface: int = LOOPBACK_INDEX) -> socket.socket:
    """Not yet connected. It leaves as the client's own would: from its address, by its interface if it has
    chosen one; and is not redirected again. Raises OSError."""
    kind = socket.SOCK_DGRAM if flow.protocol == socket.IPPROTO_UDP else socket.SOCK_STREAM
    way = socket.socket(flow.family, kind | socket.SOCK_NONBLOCK)
    try:
        way.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        if interface != LOOPBACK_INDEX:
            way.setsockopt(socket.SOL_SOCKET, _BIND_TO_INTERFACE, interface)
        way.setsockopt(socket.SOL_IP, _BIND_ADDRESS_NO_PORT, 1)
        way.bind((flow.client[0], 0))
    except OSError:
        way.close()
        raise
    return way
