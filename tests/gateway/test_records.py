"""`POST /ingest/{source}` and `shieldwall import` beside a running server."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from tests.e2e.conftest import Running
from tests.gateway.conftest import Agent, agent, server, token
from tests.sources.conftest import PROCESS, event

__all__ = ["agent", "server", "token"]


def bearer(server: Running, agent: Agent, client_id: str, secret: str) -> dict[str, str]:
    answer = agent.http.post(
        f"/{server.quickstart['tenant_id']}/oauth2/v2.0/token",
        data={
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": secret,
            "scope": "https://api.securitycenter.microsoft.com/.default",
        },
    )
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def test_records_over_http_are_answered_when_stored(server: Running, agent: Agent) -> None:
    ready = server.quickstart
    headers = bearer(server, agent, ready["client_id"], ready["client_secret"])
    lines = "\n".join(json.dumps(event(1, PROCESS, host="http1")) for _ in range(2)) + "\nno json"
    sent = {"content": gzip.compress(lines.encode()), "headers": headers | {"Content-Encoding": "gzip"}}
    told = agent.http.post("/ingest/windows", **sent).json()  # type: ignore[arg-type]
    assert [told[key] for key in ("received", "stored", "duplicates", "rejected")] == [3, 2, 0, 1]
    assert told["rejections"] == [{"line": 3, "reason": "not a JSON object"}]
    assert told["kinds"][0] == {
        "source": "sysmon",
        "channel": "Microsoft-Windows-Sysmon/Operational",
        "kind": "ProcessCreate",
        "tables": ["SourceEvents", "DeviceProcessEvents"],
        "count": 2,
    }
    assert agent.http.post("/ingest/windows", **sent).json()["duplicates"] == 2  # type: ignore[arg-type]
    query = {"Query": "DeviceProcessEvents | where DeviceName == 'http1' | project ReportId, Timestamp"}
    found = agent.http.post("/api/advancedqueries/run", json=query, headers=headers).json()
    assert len(found["Results"]) == 2


def test_only_an_application_with_the_permission_may_send(server: Running, agent: Agent) -> None:
    assert agent.http.post("/ingest/windows", content=b"{}").status_code == 401
    made = server.command("app", "create", "reader", "--role", "Alert.Read.All")
    assert made.returncode == 0, made.stderr
    reader = dict(line.split("  ", 1) for line in made.stdout.splitlines() if "  " in line)
    client, secret = reader["client id"].strip(), reader["client secret"].strip()
    others = bearer(server, agent, client, secret)
    refused = agent.http.post("/ingest/windows", content=b"{}", headers=others)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "Forbidden")
    ready = server.quickstart
    headers = bearer(server, agent, ready["client_id"], ready["client_secret"])
    assert agent.http.post("/ingest/nonsense", content=b"{}", headers=headers).status_code == 404
    assert agent.http.post("/ingest/windows?host=a%20b", content=b"{}", headers=headers).status_code == 400
    brotli = headers | {"Content-Encoding": "br"}
    assert agent.http.post("/ingest/windows", content=b"{}", headers=brotli).status_code == 415
    cut = {"content": gzip.compress(b"{}" * 1000)[:-20], "headers": headers | {"Content-Encoding": "gzip"}}
    assert agent.http.post("/ingest/windows", **cut).status_code == 400  # type: ignore[arg-type]
    big = agent.http.post("/ingest/windows", content=b"x" * ((8 << 20) + 1), headers=headers)
    assert (big.status_code, big.json()["error"]["code"]) == (413, "MaximumBatchSizeExceeded")


def test_import_tells_what_became_of_the_files(server: Running, tmp_path: Path) -> None:
    records = [event(1, PROCESS | {"ProcessId": number}, host="cli1") for number in range(3)]
    (tmp_path / "a.json").write_text("\n".join(map(json.dumps, [*records, {"Event": {}}])))
    (tmp_path / "b.pcap").write_bytes(b"\xd4\xc3\xb2\xa1")
    done = server.command("import", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "1 files, 4 records: 3 stored, 0 stored before, 1 rejected" in done.stdout
    assert "ProcessCreate" in done.stdout
    assert "b.pcap" in done.stdout
    again = server.command("import", str(tmp_path))
    assert "0 stored, 3 stored before" in again.stdout
