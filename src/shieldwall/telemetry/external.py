"""What `externaldata` reads: files on hosts that the operator allowed, and nothing else."""

from __future__ import annotations

import csv
import io
import json
import lzma
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx

from shieldwall.kql.errors import KqlError
from shieldwall.kql.literals import parse_text

MOST_BYTES = 64 << 20
MOST_ROWS = 500_000
MOST_VALUES = 10_000_000
"""Of a JSON file, which takes far more memory when it is read than as text."""
SECONDS = 20
ALL_SECONDS = 60
"""For all files of one call, however slowly they come: a query that waits cannot be stopped."""
_DELIMITERS = {"csv": ",", "tsv": "\t", "psv": "|", "scsv": ";", "sohsv": "\x01", "tsve": "\t"}

Columns = Sequence[tuple[str, str]]


class ExternalFiles:
    """Reads files over HTTPS from ``hosts``, given as names; redirects only within them."""

    def __init__(self, hosts: Sequence[str], verify: Any = True) -> None:
        self._hosts = frozenset(host.strip().lower() for host in hosts if host.strip())
        self._verify = verify

    def __call__(self, urls: Sequence[str], columns: Columns, options: dict[str, Any]) -> list[list[Any]]:
        """Rows of all files, values as a Frame holds them. KqlError where a file cannot be read."""
        rows: list[list[Any]] = []
        until = time.monotonic() + ALL_SECONDS
        for url in urls:
            for row in _parsed(self._fetched(url.partition(";")[0], until), url, columns, options):
                rows.append(row)
                if len(rows) > MOST_ROWS:
                    raise KqlError(f"externaldata: more than {MOST_ROWS} rows.")
        return rows

    def _fetched(self, url: str, until: float) -> bytes:
        for _ in range(5):
            self._check(url)
            try:
                with httpx.stream("GET", url, timeout=SECONDS, verify=self._verify) as answer:
                    if answer.is_redirect:
                        url = str(answer.next_request.url) if answer.next_request else ""
                        continue
                    if not answer.is_success:
                        raise KqlError(f"externaldata: the host answered {answer.status_code}.")
                    return _bounded(answer.iter_bytes(), until)
            except httpx.HTTPError as error:
                raise KqlError(f"externaldata: the file cannot be read ({type(error).__name__}).") from None
        raise KqlError("externaldata: too many redirects.")

    def _check(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host = (parts.hostname or "").lower()
            port = parts.port
        except ValueError:
            raise KqlError("externaldata: this is no address.") from None
        name = host if port in (None, 443) else f"{host}:{port}"
        if parts.scheme != "https" or name not in self._hosts:
            raise KqlError(f"externaldata: the host {host[:100]!r} is not on the list of allowed hosts.")


def _bounded(chunks: Iterator[bytes], until: float) -> bytes:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > MOST_BYTES:
            raise KqlError(f"externaldata: the file is larger than {MOST_BYTES} bytes.")
        if time.monotonic() > until:
            raise KqlError(f"externaldata: the files take longer than {ALL_SECONDS} seconds.")
    return bytes(body)


def _parsed(body: bytes, url: str, columns: Columns, options: dict[str, Any]) -> Iterator[list[Any]]:
    path = urlsplit(url).path.lower()
    text = _unpacked(body, path).decode("utf-8-sig", "replace")
    kind = str(options.get("format", "")).lower() or path.removesuffix(".gz").rpartition(".")[2]
    skip = str(options.get("ignoreFirstRecord", options.get("ignorefirstrecord", "false"))).lower() == "true"
    if kind in ("json", "multijson", "singlejson"):
        yield from _objects(text, columns)
        return
    if kind == "raw":
        yield [value_of(columns[0][1], text), *[None] * (len(columns) - 1)]
        return
    if kind in _DELIMITERS:
        csv.field_size_limit(MOST_BYTES)
        records: Iterator[list[str]] = iter(csv.reader(io.StringIO(text), delimiter=_DELIMITERS[kind]))
    else:
        records = ([line] for line in text.splitlines())
    for number, record in enumerate(records):
        if (number == 0 and skip) or not record:
            continue
        padded = [*record, *[""] * len(columns)]
        yield [value_of(held, padded[place]) for place, (_, held) in enumerate(columns)]


_DAMAGED = (
    zlib.error, lzma.LZMAError, zipfile.BadZipFile, OSError, ValueError, IndexError, RuntimeError, EOFError,
)  # fmt: skip


def _unpacked(body: bytes, path: str) -> bytes:
    try:
        if body[:2] == b"\x1f\x8b":
            unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
            found = unpacker.decompress(body, MOST_BYTES + 1)
        elif body[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(io.BytesIO(body)) as archive, archive.open(archive.infolist()[0]) as member:
                found = member.read(MOST_BYTES + 1)
        else:
            return body
    except _DAMAGED:
        raise KqlError("externaldata: the file cannot be unpacked.") from None
    if len(found) > MOST_BYTES:
        raise KqlError(f"externaldata: the file is larger than {MOST_BYTES} bytes.")
    return found


def _objects(text: str, columns: Columns) -> Iterator[list[Any]]:
    """Objects of a JSON array, or one after another."""
    if sum(map(text.count, "[{,")) > MOST_VALUES:
        raise KqlError(f"externaldata: the file has more than {MOST_VALUES} values.")
    decoder, place = json.JSONDecoder(), 0
    while place < len(text):
        while place < len(text) and text[place] in " \t\r\n,":
            place += 1
        if place == len(text):
            return
        try:
            found, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            raise KqlError("externaldata: the file is not JSON.") from None
        for item in found if isinstance(found, list) else [found]:
            record = item if isinstance(item, dict) else {}
            yield [value_of(kind, record.get(name)) for name, kind in columns]


def value_of(kind: str, value: Any) -> Any:
    """A value read from a file as one of a Kusto type; null if it stands for none."""
    from shieldwall.kql.frame import to_python

    if kind == "dynamic":
        if isinstance(value, str):
            try:
                return json.loads(value)
            except (ValueError, RecursionError):
                return value
        return value
    if kind == "string":
        if value is None or isinstance(value, str):
            return value or ""
        return json.dumps(value, ensure_ascii=False)
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    return to_python(kind, parse_text(kind, text.strip().strip('"')))
