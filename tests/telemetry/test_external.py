"""externaldata: what it reads of allowed hosts, over real HTTPS, and what it refuses."""

from __future__ import annotations

import gzip
import io
import json
import ssl
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from shieldwall.kql.errors import KqlError
from shieldwall.settings import Settings
from shieldwall.telemetry import external
from shieldwall.telemetry.external import ExternalFiles
from shieldwall.telemetry.hunting import Hunting
from shieldwall.telemetry.store import TelemetryStore
from tests.certificates import server_context
from tests.conftest import TENANT

COLUMNS = [("name", "string"), ("size", "long"), ("seen", "datetime")]


def zipped(text: bytes) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("inside.csv", text)
    return body.getvalue()


CSV = b'name,size,seen\r\n"a, b",7,2026-01-02T03:04:05Z\r\nc,x,\r\n'
FILES = {
    "/list.csv": CSV,
    "/list.csv.gz": gzip.compress(CSV),
    "/list.zip": zipped(CSV),
    "/list.txt": b"\xef\xbb\xbffirst\nsecond\n",
    "/list.json": json.dumps([{"name": "a", "size": 1, "seen": "2026-01-02"}, {"name": ["b"]}]).encode(),
    "/lines.json": b'{"name": "a"}\n{"name": "b", "size": "2"}\n',
    "/broken.json": b'{"name": ',
    "/lists.json": b"[" + b"[]," * external.MOST_VALUES + b"[]]",
    "/broken.gz": b"\x1f\x8bnothing",
    "/bomb.gz": gzip.compress(bytes(external.MOST_BYTES + 1)),
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "https://example.com/list.csv")
            self.end_headers()
            return
        if self.path == "/round":
            self.send_response(302)
            self.send_header("Location", "/round")
            self.end_headers()
            return
        body = FILES.get(self.path)
        self.send_response(200 if body is not None else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ssl.SSLContext]]:
    """The name of an HTTPS server with files, and how to trust it."""
    context, trust = server_context(tmp_path_factory.mktemp("tls"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"localhost:{server.server_port}", trust
    server.shutdown()
    thread.join()
    server.server_close()


def read(host: tuple[str, ssl.SSLContext], path: str, **options: Any) -> list[list[Any]]:
    return ExternalFiles([host[0]], host[1])([f"https://{host[0]}{path}"], COLUMNS, options)


SEEN = 17673230450000000
"""2026-01-02 03:04:05 in ticks since 1970."""


@pytest.mark.parametrize("path", ["/list.csv", "/list.csv.gz", "/list.zip"])
def test_tables_are_read_also_when_packed(host: tuple[str, ssl.SSLContext], path: str) -> None:
    assert read(host, path, format="csv", ignoreFirstRecord=True) == [["a, b", 7, SEEN], ["c", None, None]]


def test_lines_are_read_as_they_are(host: tuple[str, ssl.SSLContext]) -> None:
    assert read(host, "/list.txt", format="txt") == [["first", None, None], ["second", None, None]]


def test_objects_are_read_by_their_names(host: tuple[str, ssl.SSLContext]) -> None:
    assert read(host, "/list.json")[0][:2] == ["a", 1]
    assert read(host, "/list.json")[1] == ['["b"]', None, None]
    assert read(host, "/lines.json", format="multijson") == [["a", None, None], ["b", 2, None]]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/nothing", "answered 404"),
        ("/away", "not on the list"),
        ("/round", "too many redirects"),
        ("/broken.json", "not JSON"),
        ("/broken.gz", "cannot be unpacked"),
        ("/bomb.gz", "larger than"),
    ],
)
def test_what_cannot_be_read_is_told(host: tuple[str, ssl.SSLContext], path: str, message: str) -> None:
    with pytest.raises(KqlError, match=message):
        read(host, path)


@pytest.mark.parametrize(
    "url",
    [
        "http://{host}/list.csv",
        "file:///etc/passwd",
        "https://127.0.0.1:1/x",
        "https://localhost/list.csv",
        "https://user@example.com/",
        "https://{host}.example.com/",
        "ftp://{host}/x",
        "https://[::1/",
    ],
)
def test_other_hosts_are_refused(host: tuple[str, ssl.SSLContext], url: str) -> None:
    with pytest.raises(KqlError):
        ExternalFiles([host[0]], host[1])([url.format(host=host[0])], COLUMNS, {})


def test_a_query_reads_an_allowed_host_only(
    telemetry: TelemetryStore, host: tuple[str, ssl.SSLContext]
) -> None:
    allowed = Hunting(telemetry, external=ExternalFiles([host[0]], host[1]))
    options = "with (format='csv', ignoreFirstRecord=true)"
    source = f"externaldata(name: string, size: long)['https://{host[0]}/list.csv'] {options}"
    query = f"{source} | where size > 1 | project name"
    with allowed.hunt(TENANT, query, allowed.limits) as found:
        assert list(found.rows) == [["a, b"]]
    default = Hunting.build(telemetry, Settings())
    with (
        pytest.raises(Exception, match="not on the list"),
        default.hunt(TENANT, query, default.limits) as found,
    ):
        list(found.rows)


def test_a_certificate_that_is_not_trusted_is_refused(host: tuple[str, ssl.SSLContext]) -> None:
    with pytest.raises(KqlError, match="cannot be read"):
        ExternalFiles([host[0]])([f"https://{host[0]}/list.csv"], COLUMNS, {})


def test_the_folder_of_a_test_is_no_host(tmp_path: Path) -> None:
    with pytest.raises(KqlError):
        ExternalFiles([""])([str(tmp_path)], COLUMNS, {})


def test_many_small_values_are_refused_before_they_fill_the_memory(host: tuple[str, ssl.SSLContext]) -> None:
    with pytest.raises(KqlError, match="values"):
        read(host, "/lists.json")


def test_files_that_come_slowly_are_given_up(
    host: tuple[str, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external, "ALL_SECONDS", -1)
    with pytest.raises(KqlError, match="longer than"):
        read(host, "/list.csv")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_damaged_archives_are_told(method: int) -> None:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", method) as archive:
        archive.writestr("a.csv", b"abc" * 1000)
    packed = bytearray(body.getvalue())
    packed[45:60] = b"\xff" * 15
    with pytest.raises(KqlError, match="cannot be unpacked"):
        external._unpacked(bytes(packed), "/a.zip")
