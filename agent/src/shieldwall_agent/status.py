"""What `shieldwall-agent status` tells."""

import contextlib
import time
from pathlib import Path
from typing import Any

from shieldwall_agent import __version__, ipc
from shieldwall_agent.config import NotEnrolled, State
from shieldwall_agent.spool_format import Cursor, groups, read_cursor, segments


def collect(state: State) -> dict[str, Any]:
    """Everything there is to know; also of an agent that is not running."""
    processes: dict[str, Any] = {}
    running = False
    with contextlib.suppress(FileNotFoundError, ConnectionError, ValueError):
        processes = ipc.ask(state.folder, ipc.CONTROL, {"ask": "status"})["processes"]
        running = True
    found: dict[str, Any] = {"version": __version__, "running": running, "enrolled": False}
    with contextlib.suppress(NotEnrolled):
        enrolment = state.load()
        found |= {"enrolled": True, "server": enrolment.server, "device_id": enrolment.device_id}
    sensor, responder = processes.get("sensor", {}), processes.get("responder", {})
    sensors = sensor.get("sensors", {})
    return found | {
        "ready": bool(sensors),
        "sensors": sensors,
        "spool": {**spool_facts(state.spool), **sensor.get("spool", {})},
        "upload": responder.get("upload", {}),
        "channel": responder.get("channel", {}),
        "policy_revision": responder.get("policy_revision"),
        "isolated": responder.get("isolated"),
        "enforcement": {"network": responder.get("enforcement", {}), "files": _gate_facts(processes)},
        "processes": {
            name: {key: process.get(key) for key in ("pid", "running", "restarts", "killed_stuck")}
            for name, process in processes.items()
        },
    }


def _gate_facts(processes: dict[str, Any]) -> dict[str, Any]:
    counted = ("mechanism", "asked", "denied", "late", "lost", "filesystems", "canary")
    return {name: value for name, value in processes.get("gate", {}).items() if name in counted}


def spool_facts(folder: Path) -> dict[str, int]:
    """Events that wait for the server, bytes on disk, events lost so far."""
    if not folder.is_dir():
        return {"waiting": 0, "bytes": 0, "lost": 0}
    cursor = read_cursor(folder) or Cursor("")
    found = segments(folder)
    last = cursor.acknowledged
    for segment in found[-2:]:
        last = max([last, segment.first - 1, *(group.last for _, group in groups(segment.read()))])
    size = 0
    for segment in found:
        with contextlib.suppress(FileNotFoundError):
            size += segment.path.stat().st_size
    return {"waiting": last - cursor.acknowledged, "bytes": size, "lost": cursor.lost}


def brief(status: dict[str, Any]) -> str:
    """One line: the mechanism of each sensor that runs, then those that do not."""
    if not status["running"]:
        return "not running"
    sensors = status["sensors"]
    active = [
        f"{name} by {sensor['mechanism']}" for name, sensor in sensors.items() if sensor.get("mechanism")
    ]
    missing = [name for name, sensor in sensors.items() if not sensor.get("mechanism")]
    return ", ".join(active) + (f"; missing: {', '.join(missing)}" if missing else "")


def render(status: dict[str, Any]) -> str:
    lines = [f"Shieldwall agent {status['version']}: {'running' if status['running'] else 'not running'}"]
    if status["enrolled"]:
        lines.append(f"  device        {status['device_id']} of {status['server']}")
    else:
        lines.append("  device        not enrolled")
    if status["running"]:
        lines += _running_lines(status)
    spool = status["spool"]
    size = spool["bytes"] / 1e6
    lines.append(f"  spool         {spool['waiting']} events waiting, {size:.1f} MB, {spool['lost']} lost")
    return "\n".join(lines)


def _running_lines(status: dict[str, Any]) -> list[str]:
    upload, channel = status["upload"], status["channel"]
    lines = [
        f"  isolated      {'yes' if status['isolated'] else 'no'}",
        f"  indicators    revision {status['policy_revision']}",
        f"  last contact  {_ago(max(upload.get('last_contact', 0), channel.get('last_contact', 0)))}",
    ]
    lines += [
        f"  problem       {error}"
        for error in dict.fromkeys((channel.get("last_error"), upload.get("last_error")))
        if error
    ]
    if channel.get("revoked"):
        lines.append("  problem       the server has revoked this device")
    delivered, rejected = upload.get("acknowledged", 0), upload.get("rejected", 0)
    seen = status["spool"].get("emitted", 0)
    lines.append(f"  events        {seen} seen, {delivered} delivered, {rejected} rejected")
    for name, process in status["processes"].items():
        if process["restarts"]:
            lines.append(f"  process       {name}: restarted {process['restarts']} times")
    files, network = status["enforcement"]["files"], status["enforcement"]["network"]
    if files:
        lines.append(
            f"  blocking      files by {files['mechanism']} ({files['denied']} refused),"
            f" addresses by {network.get('addresses') or 'nothing'},"
            f" domains by {network.get('domains') or 'nothing'}"
        )
        if network.get("problem"):
            lines.append(f"                ({network['problem']})")
    else:
        lines.append("  blocking      nothing: the agent may not")
    lines.append("  sensors")
    for name, sensor in status["sensors"].items():
        counts = f"{sensor.get('events', 0):>10} events {sensor.get('lost', 0):>6} lost"
        lines.append(f"    {name:<12}{sensor.get('mechanism') or 'not running':<24}{counts}")
        if sensor.get("misses"):
            lines.append(f"{'':<16}misses {sensor['misses']}")
        if sensor.get("detail"):
            lines.append(f"{'':<16}not by {sensor['detail']}")
    return lines


def _ago(moment: float) -> str:
    if not moment:
        return "none yet"
    seconds = max(0, int(time.time() - moment))
    return f"{seconds} s ago" if seconds < 120 else f"{seconds // 60} min ago"
