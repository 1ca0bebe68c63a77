"""A network with name servers, made of two namespaces, and clients of it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from shieldwall_agent.enforcement import nft

CLIENT, FIRST, SECOND, FIRST6 = "10.78.0.9", "10.78.0.1", "10.78.0.2", "fd78::1"
OTHER_CLIENT = "10.78.0.10"
STUB = "127.0.0.53"
GREETER = "10.78.0.4"  # speaks first, and then echoes
NOBODY = "10.78.0.3"  # there, with no name server

SERVER = r"""
import selectors, socket, struct, sys, threading

def answer(message, peer, number):
    if message[:3] == b"raw":
        return b"%s %d %s" % (peer[0].encode(), peer[1], message)
    end = 12
    while message[end]:
        end += 1 + message[end]
    kind = int.from_bytes(message[end + 1:end + 3])
    record = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\xc0\0\2" + bytes([number]) if kind == 1 else b""
    if kind == 16:
        record = b"\xc0\x0c\0\x10\0\1\0\0\0\0" + struct.pack("!H", 60_000) + bytes(60_000)
    flags = bytes([0x80 | message[2], 0x80])
    return message[:2] + flags + struct.pack("!4H", 1, bool(record), 0, 0) + message[12:end + 5] + record

def exactly(peer, size):
    data = b""
    while len(data) < size and (part := peer.recv(size - len(data))):
        data += part
    return data

def talk(peer, number):
    address = peer.getpeername()
    if number == 4:
        peer.sendall(b"hello")
        while part := peer.recv(4096):
            peer.sendall(part)
    head = exactly(peer, 2)
    while len(head) == 2:
        said = answer(exactly(peer, int.from_bytes(head)), address, number)
        peer.sendall(struct.pack("!H", len(said)) + said)
        head = exactly(peer, 2)
    peer.close()

chosen = selectors.DefaultSelector()
for number, host in enumerate(sys.argv[1:], 1):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        s = socket.socket(family, kind); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((host, 53))
        if kind == socket.SOCK_STREAM:
            s.listen(256)
        chosen.register(s, selectors.EVENT_READ, number)
print("ready", flush=True)
while True:
    for key, _ in chosen.select():
        if key.fileobj.type == socket.SOCK_STREAM:
            peer, _ = key.fileobj.accept()
            threading.Thread(target=talk, args=(peer, key.data), daemon=True).start()
        else:
            message, peer = key.fileobj.recvfrom(65535)
            key.fileobj.sendto(answer(message, peer, key.data), peer)
"""


@dataclass(frozen=True)
class Net:
    device: str
    world: str


@contextmanager
def network() -> Iterator[Net]:
    net = Net(f"sw-nmd-{os.getpid()}", f"sw-nmw-{os.getpid()}")
    commands = f"""
        ip netns add {net.device}
        ip netns add {net.world}
        ip link add swa netns {net.device} type veth peer name swb netns {net.world}
        ip -n {net.device} addr add {CLIENT}/24 dev swa
        ip -n {net.device} addr add {OTHER_CLIENT}/24 dev swa
        ip -n {net.device} -6 addr add fd78::9/64 dev swa nodad
        ip -n {net.device} link set swa up
        ip -n {net.device} link set lo up
        ip -n {net.world} addr add {FIRST}/24 dev swb
        ip -n {net.world} addr add {SECOND}/24 dev swb
        ip -n {net.world} addr add {GREETER}/24 dev swb
        ip -n {net.world} addr add {NOBODY}/24 dev swb
        ip -n {net.world} -6 addr add {FIRST6}/64 dev swb nodad
        ip -n {net.world} link set swb up
    """
    servers: list[subprocess.Popen[str]] = []
    try:
        for command in commands.strip().splitlines():
            subprocess.run(command.split(), check=True)
        for name, hosts in ((net.world, (FIRST, SECOND, FIRST6, GREETER)), (net.device, (STUB,))):
            command = ["ip", "netns", "exec", name, sys.executable, "-c", SERVER, *hosts]
            servers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            assert servers[-1].stdout
            assert servers[-1].stdout.readline() == "ready\n"
        yield net
    finally:
        for server in servers:
            server.kill()
            server.communicate()
        for name in (net.device, net.world):
            subprocess.run(["ip", "netns", "del", name], check=False)


def query(name: str, kind: int = 1, extra: bytes = b"") -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    header = os.urandom(2) + b"\1\0\0\1\0\0\0\0\0" + bytes([bool(extra)])
    return header + labels + b"\0" + kind.to_bytes(2) + b"\0\1" + extra


def client(net: Net, kind: int, host: str) -> socket.socket:
    """A connected socket of the device, in this process."""

    def made() -> socket.socket:
        made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
        made.settimeout(3)
        made.connect((host, 53))
        return made

    return nft.inside(net.device, made)


def ask(net: Net, protocol: str, host: str, message: bytes) -> bytes:
    """The answer. Raises OSError."""
    if protocol == "udp":
        with client(net, socket.SOCK_DGRAM, host) as udp:
            udp.send(message)
            return udp.recv(65_535)
    with client(net, socket.SOCK_STREAM, host) as tcp:
        tcp.sendall(len(message).to_bytes(2) + message)
        return message_of(tcp)


def message_of(tcp: socket.socket) -> bytes:
    return exactly(tcp, int.from_bytes(exactly(tcp, 2)))


def exactly(tcp: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = tcp.recv(size - len(data))
        if not part:
            raise ConnectionError("ended")
        data += part
    return data


def served(answer: bytes) -> int:
    """Which server answered, 0 for a refusal."""
    code, answers = answer[3] & 15, int.from_bytes(answer[6:8])
    assert (code, answers) in ((3, 0), (0, 1)), answer
    return answer[-1] if answers else 0


def looks_up(net: Net, protocol: str, host: str, name: str) -> int:
    message = query(name)
    answer = ask(net, protocol, host, message)
    assert answer[:2] == message[:2]
    return served(answer)


def elsewhere(net: Net, *arguments: Any) -> subprocess.Popen[bytes]:
    """`looks_up` with these arguments in a process of its own, which says what it found as its status."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import name_servers as n; "
        "sys.exit(n.looks_up(n.Net(sys.argv[2], ''), *sys.argv[3:]))"
    )
    here = os.path.dirname(__file__)
    return subprocess.Popen([sys.executable, "-c", program, here, net.device, *arguments])
