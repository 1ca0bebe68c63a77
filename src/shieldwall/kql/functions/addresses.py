"""IP addresses of text as numbers in SQL, with the bits of a prefix behind a slash."""

from __future__ import annotations

import ipaddress
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from shieldwall.kql import sql

_V4 = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:/(\d{1,2}))?")
_V4_IN_V6 = re.compile(r"(?:::(?:[fF]{4}:)?)?(\d+\.\d+\.\d+\.\d+)")
_DOTTED = sql.quote(r"^::(?:[fF]{4}:)?([0-9]+[.][0-9.]+)$")


class Network(NamedTuple):
    """A constant address with the number of bits of it that count."""

    number: int
    bits: int


@dataclass(frozen=True, slots=True)
class Address:
    """SQL of an address and of its bits. The number is NULL for text that is no address, the bits never."""

    number: str
    bits: str


class Family(ABC):
    """IPv4 or IPv6: how long addresses are, and how they are read."""

    size: int
    ones: str
    """SQL of the number of all bits set."""
    null: str

    @abstractmethod
    def constant(self, text: str) -> Network | None:
        """The network that text stands for, with the bits it does not keep at 0."""

    @abstractmethod
    def literal(self, number: int) -> str:
        """SQL of a number."""

    @abstractmethod
    def plain(self, text: str) -> str:
        """SQL of the number of SQL of text without a prefix."""

    @abstractmethod
    def bits(self, text: str, given: str) -> str:
        """SQL of how many bits the number ``given`` behind the slash of SQL of text stands for."""

    def mask(self, bits: str) -> str:
        """SQL of the number with this many leading bits set."""
        if bits.isdigit():
            return self.literal(self.kept(int(bits)))
        return f"bitShiftLeft({self.ones}, {self.size} - {bits})"

    def kept(self, bits: int) -> int:
        return (1 << self.size) - (1 << (self.size - bits))

    def masked(self, number: str, bits: str) -> str:
        return number if bits == str(self.size) else f"bitAnd({number}, {self.mask(bits)})"

    def fixed(self, network: Network | None) -> Address:
        """A constant."""
        if network is None:
            return Address(self.null, str(self.size))
        return Address(self.literal(network.number), str(network.bits))

    def address(self, text: str) -> Address:
        """What SQL of text stands for."""
        slash = f"position({text}, '/')"
        given = f"toUInt8OrNull(substring({text}, {slash} + 1))"
        bits = self.bits(text, f"ifNull({given}, 255)")
        head = self.plain(f"substring({text}, 1, {slash} - 1)")
        number = f"if({slash} = 0, {self.plain(text)}, if({bits} <= {self.size}, {head}, NULL))"
        return Address(number, f"if({slash} = 0, {self.size}, least({bits}, {self.size}))")


class _V4Family(Family):
    size = 32
    ones = "toUInt64(4294967295)"
    null = "CAST(NULL AS Nullable(UInt32))"

    def constant(self, text: str) -> Network | None:
        found = _V4.fullmatch(text)
        if found is None:
            return None
        *octets, given = (int(part or self.size) for part in found.groups())
        if max(octets) > 255 or given > self.size:
            return None
        return Network(int.from_bytes(bytes(octets), "big") & self.kept(given), given)

    def literal(self, number: int) -> str:
        return str(number)

    def plain(self, text: str) -> str:
        return f"toUInt32(toIPv4OrNull({text}))"

    def bits(self, text: str, given: str) -> str:
        return given


class _V6Family(Family):
    """Addresses of IPv4, also written as ``::1.2.3.4``, are those that map them, and their bits 96 more."""

    size = 128
    ones = f"toUInt128('{(1 << 128) - 1}')"
    null = "CAST(NULL AS Nullable(UInt128))"

    def constant(self, text: str) -> Network | None:
        head, slash, tail = text.partition("/")
        bits = self.size
        if slash:
            if not (tail.isascii() and tail.isdecimal()) or len(tail) > 3:
                return None
            bits = int(tail)
        if found := _V4_IN_V6.fullmatch(head):
            network = V4.constant(found[1])
            if network is None:
                return None
            number = 0xFFFF << 32 | network.number
            bits += 96 if bits <= 32 else 0
        else:
            try:
                number = int(ipaddress.IPv6Address(head))
            except ValueError:
                return None
        return Network(number & self.kept(bits), bits) if bits <= self.size else None

    def literal(self, number: int) -> str:
        return f"toUInt128('{number}')"

    def plain(self, text: str) -> str:
        shown = f"if(position({text}, '.') = 0, {text}, replaceRegexpOne({text}, {_DOTTED}, '\\\\1'))"
        return f"toUInt128(toIPv6OrNull({shown}))"

    def bits(self, text: str, given: str) -> str:
        return f"({given} + if(position({text}, '.') > 0 AND {given} <= 32, 96, 0))"


V4 = _V4Family()
V6 = _V6Family()
