"""What the README promises, done as a user does it."""

from __future__ import annotations

import json
import os
import re
import subprocess

import httpx
import psutil
import pytest

from .conftest import trusting, until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="kernel sensors and blocking need root")


def test_the_server_starts_says_how_to_call_it_and_finds_its_data_again(start):
    with start() as first:
        device = first.device()
        text = "".join(first.output)
        curl = re.search(r"^ +(curl .*)$", text, re.M)
        listed = subprocess.run(["/bin/sh", "-c", curl[1]], capture_output=True, text=True)
        assert device["id"] in listed.stdout
        children = psutil.Process(first.process.pid).children(recursive=True)
        assert children
    assert first.process.returncode == 0
    assert not psutil.wait_procs(children, timeout=5)[1], "Ctrl-C left processes behind"
    with start() as second:
        assert second.quickstart == first.quickstart
        assert [found["id"] for found in second.get("/api/machines")["value"]] == [device["id"]]


@pytest.mark.root
@needs_root
def test_the_demo_becomes_an_incident_with_its_story_and_actions(start, tmp_path):
    with start() as shieldwall:
        shieldwall.device()
        demo = shieldwall.command("demo")
        assert demo.returncode == 0, demo.stdout + demo.stderr
        assert "payload: refused" in demo.stdout
        assert "decoded shell: ran" in demo.stdout
        for title in ("Demo payload", "Demo implant", "Demo command server"):
            assert title in demo.stdout
        assert re.search(r"StopAndQuarantineFile\s+│\s+Succeeded", demo.stdout), demo.stdout
        said = re.findall(r"another host is (reached|cut off)", demo.stdout)
        assert said == ["reached", "cut off", "reached"], demo.stdout
        assert "attack.sh" in demo.stdout, "the process tree shows who did it"
        alerts = shieldwall.get("/api/alerts", **{"$expand": "evidence"})["value"]
        (number,) = {alert["incidentId"] for alert in alerts}  # one attack is one incident
        picture = tmp_path / "attack.svg"
        drawn = shieldwall.command("incident", "show", str(number), "--graph", "svg", "--out", str(picture))
        assert "nodes" in drawn.stdout, drawn.stderr
        assert "attack.sh" in picture.read_text()
        tree = shieldwall.command("incident", "show", str(number), "--graph", "tree").stdout
        assert "linked to" in tree

        def stopped() -> bool:
            """The gate refuses the file, unless the alert's investigation has taken it away before."""
            found = shieldwall.get("/api/alerts", **{"$expand": "evidence"})["value"]
            payload = [alert for alert in found if "Demo payload" in alert["title"]]
            told = {entity["detectionStatus"] for alert in payload for entity in alert["evidence"]}
            actions = shieldwall.get("/api/machineactions")["value"]
            taken = [action for action in actions if action["type"] == "StopAndQuarantineFile"]
            by = {action["requestor"] for action in taken if action["status"] == "Succeeded"}
            return "Prevented" in told or "Automated investigation" in by

        assert until(stopped)
        assert {entity["entityType"] for alert in alerts for entity in alert["evidence"]} >= {
            "File",
            "Process",
            "User",
            "Ip",
        }


@pytest.mark.root
@needs_root
def test_a_package_is_collected_and_downloaded(start):
    with start() as shieldwall:
        device = shieldwall.device()
        action = shieldwall.post(
            f"/api/machines/{device['id']}/collectInvestigationPackage", {"Comment": "for the case"}
        )
        done = shieldwall.finished(action, 120)
        assert done["status"] == "Succeeded", done
        link = shieldwall.get(f"/api/machineactions/{action['id']}/getPackageUri")["value"].strip('"')
        package = httpx.get(link, verify=trusting(shieldwall.quickstart["ca"]))
        assert package.status_code == 200
        assert package.content[:2] == b"PK"


def test_metrics_and_health(start):
    with start("--no-agent") as shieldwall:
        assert shieldwall.http.get("/healthz").json() == {"status": "ok"}
        text = until(lambda: shieldwall.http.get("/metrics").text)
        assert "shieldwall_ingest_pending_bytes" in text


def test_hunts_run_from_the_command_line(start, tmp_path):
    with start() as shieldwall:
        shieldwall.device()
        query = "DeviceInfo | summarize Reports = count() by DeviceName"
        until(lambda: "1 row" in shieldwall.command("query", query).stdout)
        rows = shieldwall.command("query", query, "--format", "json").stdout.splitlines()
        assert set(json.loads(rows[0])) == {"DeviceName", "Reports"}
        assert shieldwall.command("query", query, "-f", "csv").stdout.startswith("DeviceName,Reports")
        file = tmp_path / "devices.parquet"
        assert shieldwall.command("query", query, "-f", "parquet", "-o", str(file)).returncode == 0
        assert file.read_bytes()[:4] == b"PAR1"
        assert "█" in shieldwall.command("query", f"{query} | render barchart").stdout
        wrong = shieldwall.command("query", "DeviceInfo | where Nonsense == 1")
        assert wrong.returncode != 0
        assert "column 20" in wrong.stderr
