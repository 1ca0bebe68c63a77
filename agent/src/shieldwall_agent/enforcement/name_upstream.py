"""Sockets of the resolver proxy towards the servers that its clients wanted."""

import socket

from shieldwall_agent.enforcement.conntrack import Flow
from shieldwall_agent.enforcement.name_redirect import MARK

_BIND_ADDRESS_NO_PORT = 24


def outgoing(flow: Flow) -> socket.socket:
    """Not yet connected. It leaves from the client's own address, so that it is routed as the client's would
    be, and is not redirected again. Raises OSError."""
    kind = socket.SOCK_DGRAM if flow.protocol == socket.IPPROTO_UDP else socket.SOCK_STREAM
    way = socket.socket(flow.family, kind | socket.SOCK_NONBLOCK)
    try:
        way.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        way.setsockopt(socket.SOL_IP, _BIND_ADDRESS_NO_PORT, 1)
        way.bind((flow.client[0], 0))
    except OSError:
        way.close()
        raise
    return way
