"""The nftables table that sends this machine's DNS queries to our proxy, and that dies with it.

Two things take it away without anybody's help, so that names resolve again whatever becomes of us. The
kernel deletes the table when the socket closes by which it was made (`flags owner`, Linux 5.12); while it
lives no one else can change it, a firewall's `flush ruleset` included. And it redirects only while an
element of its set has not timed out, so a proxy that hangs, or an older kernel, fails open too.
"""

import ctypes
from collections.abc import Iterable

from shieldwall_agent.enforcement.nft import NftError

TABLE = "shieldwall_names"
MARK = 0x53570035  # of the proxy's own queries
BEAT_SECONDS = 1.0
LONGEST_SILENCE = 4  # seconds without a beat, after which nothing is redirected any more
DNS_PORT = 53

# family ("ipv4", "ipv6"), protocol ("udp", "tcp"), port on the loopback address
Listener = tuple[str, str, int]


class Redirect:
    """Made, used and closed by one thread; acts in that thread's network namespace."""

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self._listeners = sorted(listeners)
        self._nft = Library()
        self._owned = True  # until the kernel refuses it
        self.active = False

    def beat(self) -> None:
        """Redirect for LONGEST_SILENCE from now on. Raises NftError."""
        if self.active:
            try:
                self._nft.run(_RENEWAL)
                return
            except NftError:  # the table has gone: make it anew, with nothing left of this one
                self.active = False
                self._nft.close()
                self._nft = Library()
        try:
            self._nft.run(ruleset(self._listeners, self._owned))
        except NftError:
            if not self._owned:
                raise
            self._nft.run(ruleset(self._listeners, owned=False))
            self._owned = False
        self.active = True

    def remove(self) -> None:
        """Raises NftError."""
        if self.active:
            flags = " { flags owner; }" if self._owned else ""
            self._nft.run(f"table inet {TABLE}{flags}\ndelete table inet {TABLE}\n")
            self.active = False

    def close(self) -> None:
        self._nft.close()


def ruleset(listeners: Iterable[Listener], owned: bool) -> str:
    """One transaction that replaces the table."""
    rules = "".join(
        f"    meta nfproto {family} meta l4proto @alive {protocol} dport {DNS_PORT} {_WAYS[family, protocol]}"
        f":{port};\n"
        for family, protocol, port in listeners
    )
    return (
        f"table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n"
        + ("  flags owner;\n" if owned else "")
        + f"  set alive {{ type inet_proto; flags timeout; elements = {{ {_ALIVE} }}; }}\n"
        # Before the usual -100, as the first redirect of a flow counts. Addresses with a zone cannot be
        # redirected to loopback.
        + "  chain output {\n    type nat hook output priority -110; policy accept;\n"
        + f"    meta mark {MARK} accept;\n    ip6 daddr fe80::/10 accept;\n{rules}  }}\n}}\n"
    )


# Of a socket that is bound to an interface nothing reaches 127.0.0.1, but its own address it does reach. For
# TCP that would be a port open to the network, so there such sockets (rare with DNS) get no answer.
_WAYS = {
    ("ipv4", "tcp"): "redirect to ",
    ("ipv6", "tcp"): "redirect to ",
    ("ipv4", "udp"): "fib saddr type local dnat ip to ip saddr",
    ("ipv6", "udp"): "fib saddr type local dnat ip6 to ip6 saddr",
}
_ALIVE = ", ".join(f"{protocol} timeout {LONGEST_SILENCE}s" for protocol in ("udp", "tcp"))
# Older kernels do not prolong an element that is there already, nor delete one that is not.
_RENEWAL = (
    f"add element inet {TABLE} alive {{ {_ALIVE} }}\ndelete element inet {TABLE} alive {{ udp, tcp }}\n"
    f"add element inet {TABLE} alive {{ {_ALIVE} }}\n"
)


class Library:
    """libnftables, which nft itself is made of: it keeps the socket that owns the table, and a beat costs
    0.3 ms where a process costs 6."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libnftables.so.1")
        except OSError as error:
            raise NftError(f"no libnftables: {error}") from error
        new = self._library.nft_ctx_new
        new.argtypes, new.restype = [ctypes.c_uint32], ctypes.c_void_p
        self._context = ctypes.c_void_p(new(0))
        if not self._context:
            raise NftError("libnftables cannot be used")
        self._library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        self._library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        for name in (
            "nft_ctx_get_error_buffer",
            "nft_ctx_buffer_error",
            "nft_ctx_buffer_output",
            "nft_ctx_free",
        ):
            getattr(self._library, name).argtypes = [ctypes.c_void_p]
        self._library.nft_ctx_buffer_error(self._context)
        self._library.nft_ctx_buffer_output(self._context)

    def run(self, script: str) -> None:
        """One transaction. Raises NftError."""
        if self._library.nft_run_cmd_from_buffer(self._context, script.encode()):
            problem = self._library.nft_ctx_get_error_buffer(self._context) or b""
            raise NftError(f"nft refused: {problem.decode(errors='replace').strip()[:500]}")

    def close(self) -> None:
        if self._context:
            self._library.nft_ctx_free(self._context)
            self._context = ctypes.c_void_p()
