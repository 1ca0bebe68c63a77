"""Unpacking what agents send, with a bound on what comes out: a bomb costs no more than the bound."""

from __future__ import annotations

import zstandard
from isal import isal_zlib

from shieldwall.errors import ApiError, bad_request

_CHUNK = 1 << 20


def unpack(body: bytes, encoding: str, most: int) -> bytes:
    """The expanded body of a request; ApiError 400 when it is broken, 413 above ``most`` bytes."""
    kind = encoding.strip().lower() or "identity"
    if kind == "identity":
        return _within(body, most)
    if not body:
        raise bad_request(f"The {kind[:32]} body is cut off.", "InvalidRequestBody")
    if kind == "gzip":
        return _gunzip(body, most)
    if kind == "zstd":
        return _unzstd(body, most)
    raise ApiError(415, "InvalidRequestBody", f"Content-Encoding {encoding[:32]!r} is not supported.")


def too_large(most: int, unit: str = "bytes") -> ApiError:
    return ApiError(413, "MaximumBatchSizeExceeded", f"The batch is larger than {most} {unit}.")


def _within(body: bytes, most: int) -> bytes:
    if len(body) > most:
        raise too_large(most)
    return body


def _gunzip(body: bytes, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    rest = body
    try:
        while rest:
            stream = isal_zlib.decompressobj(wbits=31)
            while not stream.eof:
                part = stream.decompress(rest, _CHUNK)
                rest = stream.unconsumed_tail
                size += len(part)
                if size > most:
                    raise too_large(most)
                if not part and not rest and not stream.eof:
                    raise bad_request("The gzip body is cut off.", "InvalidRequestBody")
                parts.append(part)
            rest = stream.unused_data
    except isal_zlib.error:  # type: ignore[misc]
        raise bad_request("The body is not valid gzip.", "InvalidRequestBody") from None
    return b"".join(parts)


def _unzstd(body: bytes, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    rest = body
    try:
        while rest:
            # A bounded window: the frame's own header must not make us allocate what it likes.
            stream = zstandard.ZstdDecompressor(max_window_size=8 << 20).decompressobj()
            offset = 0
            while offset < len(rest) and not stream.eof:
                part = stream.decompress(rest[offset : offset + 4096])
                offset += 4096
                size += len(part)
                if size > most:
                    raise too_large(most)
                parts.append(part)
            if not stream.eof:
                raise bad_request("The zstd body is cut off.", "InvalidRequestBody")
            rest = stream.unused_data
    except zstandard.ZstdError:
        raise bad_request("The body is not valid zstd.", "InvalidRequestBody") from None
    return b"".join(parts)
