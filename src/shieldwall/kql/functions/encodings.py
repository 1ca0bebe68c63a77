"""Encodings of strings: base64, URLs, punycode, compressed data."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from typing import TYPE_CHECKING

from shieldwall.kql import sql
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import coded, coerce, declare, local
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import Value, made

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

MOST_BYTES = 16 << 20
"""How much compressed data may unfold to; more gives an empty string."""

declare("""
base64_encode_tostring(string) -> string | base64Encode({0})
base64_encodestring(string) -> string | base64Encode({0})
base64_encode_fromguid(guid) -> string | ifNull(base64Encode(UUIDStringToNum(toString({0}), 2)), '')
url_decode(string) -> string | toValidUTF8(decodeURLFormComponent({0}))
""")


@coded("base64_decode_tostring", "base64_decodestring")
def base64_decode_tostring(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The string that base64 text holds; empty if it is none, or no UTF-8."""
    text = coerce(bound(binder, call, 1)[0], "string", call, 0)
    decoded = f"tryBase64Decode({text.sql})"
    return made("string", sql.once(decoded, lambda data: f"if(isValidUTF8({data}), {data}, '')"), text)


@coded("base64_decode_toarray")
def base64_decode_toarray(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The bytes that base64 text holds as an array of numbers; null if it is none."""
    text = coerce(bound(binder, call, 1)[0], "string", call, 0)

    def array(data: str) -> str:
        numbers = f"arrayMap(p -> reinterpretAsUInt8(substring({data}, p, 1)), range(1, length({data}) + 1))"
        return f"if({data} = '' AND {text.sql} != '', '', toJSONString({numbers}))"

    return made("dynamic", sql.once(f"tryBase64Decode({text.sql})", array), text)


@coded("base64_decode_toguid")
def base64_decode_toguid(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The guid of 16 bytes in base64; null if it is none."""
    text = coerce(bound(binder, call, 1)[0], "string", call, 0)
    data = f"tryBase64Decode({text.sql})"

    def guid(data: str) -> str:
        # Bytes of a fixed number, whatever there is, so that nothing fails where they are not wanted.
        bytes_ = f"toFixedString(substring(concat({data}, unhex('{'00' * 16}')), 1, 16), 16)"
        return f"if(length({data}) = 16, toUUIDOrNull(UUIDNumToString({bytes_}, 2)), NULL)"

    return made("guid", sql.once(data, guid), text)


@coded("base64_encode_fromarray")
def base64_encode_fromarray(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Base64 of an array of bytes; empty if it is none."""
    value = coerce(bound(binder, call, 1)[0], "dynamic", call, 0)
    numbers = f"JSONExtract({value.sql}, 'Array(Int64)')"
    wrong = f"arrayExists(c -> c < 0 OR c > 255, {numbers})"
    data = f"arrayStringConcat(arrayMap(c -> char(c), {numbers}))"
    return made("string", f"if({wrong}, '', base64Encode({data}))", value)


@coded("url_encode", "url_encode_component")
def url_encode(binder: Binder, call: Call, _: list[Value]) -> Value:
    """All but letters, digits and dots as ``%xx``; a blank as ``+``, or as ``%20`` in a component."""
    text = coerce(bound(binder, call, 1)[0], "string", call, 0)
    blank = "+" if call.name == "url_encode" else "%20"
    parts = f"extractAll({text.sql}, '(?s)([a-zA-Z0-9.]+|.)')"
    bytes_ = r"replaceRegexpAll(lower(hex(c)), '(..)', '%\\1')"
    each = f"multiIf(match(c, '^[a-zA-Z0-9.]'), c, c = ' ', '{blank}', {bytes_})"
    return made("string", f"arrayStringConcat(arrayMap(c -> {each}, {parts}))", text)


@local("punycode_from_string(string) -> string")
def punycode_from_string(text: str) -> str:
    return text.encode("punycode").decode("ascii")


@local("punycode_to_string(string) -> string")
def punycode_to_string(text: str) -> str:
    try:
        found = text.encode("ascii").decode("punycode")
        found.encode()
    except (UnicodeError, ValueError, OverflowError, IndexError):
        return ""
    return found


@local("punycode_domain_to_string(string) -> string")
def punycode_domain_to_string(text: str) -> str:
    """A domain with each label that needs it in punycode."""
    labels = text.split(".")
    return ".".join(
        label if label.isascii() else f"xn--{label.encode('punycode').decode('ascii')}" for label in labels
    )


@local("punycode_domain_from_string(string) -> string")
def punycode_domain_from_string(text: str) -> str:
    """A domain with its labels out of punycode; empty if one cannot be read."""
    labels: list[str] = []
    for label in text.split("."):
        if label[:4].lower() == "xn--":
            plain = punycode_to_string(label[4:])
            if not plain:
                return ""
            label = plain
        labels.append(label)
    return ".".join(labels)


@local("zlib_compress_to_base64_string(string) -> string")
def zlib_compress(text: str) -> str:
    data = text.encode()
    checked = b"\x78\x01" + _deflated(data) + struct.pack(">I", zlib.adler32(data))
    return base64.b64encode(checked).decode("ascii")


@local("gzip_compress_to_base64_string(string) -> string")
def gzip_compress(text: str) -> str:
    data = text.encode()
    header = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    end = struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)
    return base64.b64encode(header + _deflated(data) + end).decode("ascii")


def _deflated(data: bytes) -> bytes:
    """Data in deflate's form, stored as it is if that makes it no shorter."""
    for level in (6, 0):
        packer = zlib.compressobj(level, wbits=-15)
        packed = packer.compress(data) + packer.flush()
        if len(packed) < len(data):
            break
    return packed


@local("zlib_decompress_from_base64_string(string) -> string")
def zlib_decompress(text: str) -> str:
    return _inflated(text, 15)


@local("gzip_decompress_from_base64_string(string) -> string")
def gzip_decompress(text: str) -> str:
    return _inflated(text, 31)


def _inflated(text: str, bits: int) -> str:
    """The text that compressed data in base64 holds; empty if it is none, or too large."""
    try:
        unpacker = zlib.decompressobj(bits)
        data = unpacker.decompress(base64.b64decode(text, validate=True), MOST_BYTES)
        return data.decode() if unpacker.eof else ""
    except (zlib.error, binascii.Error, ValueError):
        return ""
