"""A DNS server and clients of it, as programs for a network namespace: `dns_peers.py serve | ask ...`."""

import os
import socket
import struct
import sys
import threading
import time

ANSWER = "192.0.2.77"


def wire(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def query(name: str, number: int = 0x1234) -> bytes:
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + wire(name) + struct.pack("!HH", 1, 1)


def answer(asked: bytes) -> bytes:
    """A CNAME and an address, with compressed names as servers send them."""
    number = asked[:2]
    target = b"\x05alias\xc0\x0c"
    alias = b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 60, len(target)) + target
    address = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton(ANSWER)
    return number + struct.pack("!5H", 0x8180, 1, 2, 0, 0) + asked[12:] + alias + address


def serve() -> None:
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    udp.bind(("::", 53))
    tcp = socket.create_server(("::", 53), family=socket.AF_INET6, dualstack_ipv6=True)
    threading.Thread(target=_serve_tcp, args=(tcp,), daemon=True).start()
    print("ready", flush=True)
    while True:
        asked, peer = udp.recvfrom(4096)
        if b"silent" not in asked:
            udp.sendto(answer(asked), peer)


def _serve_tcp(tcp: socket.socket) -> None:
    while True:
        client, _ = tcp.accept()
        with client, client.makefile("rb") as stream:
            while head := stream.read(2):
                reply = answer(stream.read(int.from_bytes(head)))
                client.sendall(struct.pack("!H", len(reply)) + reply)


def ask(how: str, server: str, *names: str) -> None:
    """`how`: udp, tcp, split (the length by itself, so that Nagle holds the rest), bytes, pipelined."""
    print(os.getpid(), flush=True)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    if how == "udp":
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.settimeout(1)
            for number, name in enumerate(names):
                client.sendto(query(name, number), (server, 53))
                if "silent" not in name:
                    client.recv(4096)
            time.sleep(0.3)  # as a resolver that asks again would
        return
    messages = [query(name, number) for number, name in enumerate(names)]
    framed = [struct.pack("!H", len(message)) + message for message in messages]
    with socket.create_connection((server, 53)) as client, client.makefile("rb") as stream:
        if how == "tcp":
            parts = framed
        elif how == "split":
            parts = [part for one in framed for part in (one[:2], one[2:])]
        elif how == "bytes":
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            parts = [bytes([byte]) for one in framed for byte in one]
        else:
            parts = [b"".join(framed)]
        for part in parts:
            client.sendall(part)
        for _ in framed:
            stream.read(int.from_bytes(stream.read(2)))
        time.sleep(0.3)


if __name__ == "__main__":
    {"serve": serve, "ask": ask}[sys.argv[1]](*sys.argv[2:])
