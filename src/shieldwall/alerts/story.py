"""The attack story of an incident: a graph of what took part, each piece with the time at which it came in.

Nodes are devices, users, processes, files, addresses, domains, registry keys and alerts; an edge says what
one did to another. Both are in the order of their times: whoever draws them in this order replays the attack.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from shieldwall.alerts.models import Alert, Evidence, Incident
from shieldwall.alerts.naming import tactics
from shieldwall.times import to_text

NODES_LIMIT = 500
EDGES_LIMIT = 2000
ALERTS_LIMIT = 1000
"""Most alerts that a story is told of, the earliest."""
LABEL_LIMIT = 120

VERDICTS = ("Unknown", "NoThreatsFound", "Suspicious", "Malicious")
REMOTE = ("remote logon", "connection")


@dataclass
class Node:
    """One piece of the story. ``time`` is when it first took part, None where nobody knows."""

    id: str
    kind: str
    label: str
    time: datetime | None
    verdict: str | None = None
    remediation_status: str | None = None
    detection_status: str | None = None
    alerts: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind,
            "label": self.label[:LABEL_LIMIT],
            "time": to_text(self.time) if self.time else None,
            "verdict": self.verdict,
            "remediationStatus": self.remediation_status,
            "detectionStatus": self.detection_status,
            "alertIds": self.alerts,
            "details": self.details,
        }


@dataclass(frozen=True)
class Edge:
    """What ``source`` did to ``target``, and the alert that tells it."""

    source: str
    target: str
    kind: str
    time: datetime | None = field(compare=False)
    alert: str | None = field(compare=False, default=None)

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "target": self.target,
            "kind": self.kind,
            "time": to_text(self.time) if self.time else None,
            "alertId": self.alert,
        }


def attack_story(
    incident: Incident, alerts: Sequence[Alert], evidence: Mapping[str, Sequence[Evidence]]
) -> dict[str, Any]:
    """The story as the API writes it, of ``alerts`` in the order of their times, with their evidence."""
    graph = _Graph()
    listed = {alert.id: alert for alert in alerts}
    for alert in alerts:
        graph.add_alert(alert, evidence.get(alert.id, ()))
    for alert in alerts:
        graph.add_ways(alert, listed)
    nodes = sorted(graph.nodes.values(), key=lambda node: (_moment(node.time), node.kind, node.id))
    kept = nodes[:NODES_LIMIT]
    names = {node.id for node in kept}
    edges = [edge for edge in graph.edges if edge.source in names and edge.target in names]
    edges.sort(key=lambda edge: (_moment(edge.time), edge.source, edge.target, edge.kind))
    return {
        "incidentId": incident.id,
        "incidentName": incident.name,
        "severity": incident.severity,
        "status": incident.status,
        "redirectIncidentId": incident.redirect_incident_id,
        "tactics": tactics(alert.category for alert in alerts),
        "mitreTechniques": sorted({each for alert in alerts for each in alert.mitre_techniques}),
        "firstActivity": to_text(incident.first_event_time),
        "lastActivity": to_text(incident.last_event_time),
        "alerts": [_alert(alert, listed) for alert in alerts],
        "nodes": [node.to_json() for node in kept],
        "edges": [edge.to_json() for edge in edges[:EDGES_LIMIT]],
        "truncated": len(nodes) > NODES_LIMIT or len(edges) > EDGES_LIMIT,
    }


def _alert(alert: Alert, listed: Mapping[str, Alert]) -> dict[str, Any]:
    return {
        "alertId": alert.id,
        "title": alert.title,
        "severity": alert.severity,
        "status": alert.status,
        "category": alert.category,
        "mitreTechniques": alert.mitre_techniques,
        "detectionSource": alert.detection_source,
        "machineId": alert.machine_id,
        "computerDnsName": alert.computer_dns_name,
        "firstActivity": to_text(alert.first_event_time) if alert.first_event_time else None,
        "lastActivity": to_text(alert.last_event_time) if alert.last_event_time else None,
        "movedBy": alert.moved_by,
        # Alerts that the reader does not see are not named either.
        "reasons": [reason for reason in alert.link_reasons if reason["alertId"] in listed],
    }


class _Graph:
    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.edges: dict[Edge, None] = {}

    def add_alert(self, alert: Alert, evidence: Sequence[Evidence]) -> None:
        time = alert.first_event_time
        own = self._node(f"alert:{alert.id}", "alert", alert.title, time, alert.id)
        own.details |= {"severity": alert.severity, "category": alert.category, "status": alert.status}
        device: Node | None = None
        if alert.machine_id:
            name = alert.computer_dns_name or alert.machine_id[:12]
            device = self._node(f"device:{alert.machine_id}", "device", name, time, alert.id)
            device.details["machineId"] = alert.machine_id
        found: dict[str, list[Node]] = defaultdict(list)
        # Parents first, so that a process hangs below its own.
        for item in evidence:
            if (node := self._entity(alert, item, time)) is not None:
                found[node.kind].append(node)
        for item in evidence:
            if item.entity_type == "Process" and device is not None:
                self._started(alert, item, device)
        actor = next(iter(found["process"]), None) or device
        self._edge(own, actor or own, "raisedOn", time, alert.id)
        for user in found["user"]:
            self._edge(user, actor or own, "ran" if found["process"] else "loggedOn", time, alert.id)
        for kind, what in (
            ("file", "touched"),
            ("ip", "connectedTo"),
            ("domain", "contacted"),
            ("registry", "changed"),
        ):
            for node in found[kind]:
                self._edge(actor or own, node, what, time, alert.id)

    def add_ways(self, alert: Alert, listed: Mapping[str, Alert]) -> None:
        """From device to device, as far as alerts were linked by it."""
        for reason in alert.link_reasons:
            other = listed.get(reason["alertId"])
            if other is None or not other.machine_id or not alert.machine_id:
                continue
            if other.machine_id == alert.machine_id:
                continue
            kinds = {each["kind"] for each in reason["shared"]}
            for kind in REMOTE:
                if kind in kinds:
                    first, second = sorted((other, alert), key=lambda each: _moment(each.first_event_time))
                    what = "loggedOnTo" if kind == "remote logon" else "connectedTo"
                    source, target = (self.nodes[f"device:{each.machine_id}"] for each in (first, second))
                    self._edge(source, target, what, second.first_event_time, alert.id)

    def _started(self, alert: Alert, item: Evidence, device: Node) -> None:
        child = self.nodes.get(_process_id(device.id, item.process_id, item.process_creation_time) or "")
        if child is None:
            return
        above = _process_id(device.id, item.parent_process_id, item.parent_process_creation_time)
        parent = self.nodes.get(above or "")
        if parent is None and above and item.parent_process_file_name:
            parent = self._node(
                above, "process", item.parent_process_file_name, item.parent_process_creation_time, alert.id
            )
            parent.details |= {"processId": item.parent_process_id, "machineId": alert.machine_id}
            self._edge(device, parent, "ran", parent.time, alert.id)
        self._edge(parent or device, child, "started" if parent else "ran", child.time, alert.id)

    def _entity(self, alert: Alert, item: Evidence, time: datetime | None) -> Node | None:
        """The node of a piece of evidence; None for one that has no place in the graph."""
        named = _named(alert, item)
        if named is None:
            return None
        kind, value, label, details = named
        began = item.process_creation_time if kind == "process" else None
        node = self._node(value, kind, label, began or time, alert.id)
        node.details |= {name: content for name, content in details.items() if content is not None}
        if kind != "user":
            node.verdict = max(node.verdict or "Unknown", item.verdict, key=_rank)
            node.detection_status = item.detection_status or node.detection_status
            if item.remediation_status != "None" or node.remediation_status is None:
                node.remediation_status = item.remediation_status
        return node

    def _node(self, identifier: str, kind: str, label: str, time: datetime | None, alert: str) -> Node:
        node = self.nodes.setdefault(identifier, Node(identifier, kind, label, time))
        if time is not None and (node.time is None or time < node.time):
            node.time = time
        if alert not in node.alerts:
            node.alerts.append(alert)
        return node

    def _edge(self, source: Node, target: Node, kind: str, time: datetime | None, alert: str) -> None:
        if source is not target:
            self.edges.setdefault(Edge(source.id, target.id, kind, time, alert))


def _named(alert: Alert, item: Evidence) -> tuple[str, str, str, dict[str, Any]] | None:
    """Kind, id, label and details of a piece of evidence."""
    match item.entity_type:
        case "Process":
            device = f"device:{alert.machine_id}" if alert.machine_id else f"alert:{alert.id}"
            value = _process_id(device, item.process_id, item.process_creation_time)
            if value is None:
                return None
            details = {
                "processId": item.process_id,
                "commandLine": item.process_command_line,
                "path": item.file_path,
                "sha256": item.sha256,
                "machineId": alert.machine_id,
            }
            return "process", value, item.file_name or f"process {item.process_id}", details
        case "File":
            name = item.file_name or item.sha256 or item.sha1 or item.md5
            value = item.sha256 or item.sha1 or item.md5 or f"{item.file_path}/{item.file_name}"
            hashes = {"sha256": item.sha256, "sha1": item.sha1, "path": item.file_path}
            return ("file", f"file:{value.lower()}", name, hashes) if name else None
        case "Ip" if item.ip_address:
            return "ip", f"ip:{item.ip_address}", item.ip_address, {}
        case "Url" if item.url:
            host = _host(item.url)
            return "domain", f"domain:{host}", host, {"url": item.url}
        case "User" if item.account_name:
            text = "\\".join(filter(None, (item.domain_name, item.account_name)))
            return "user", f"user:{text.lower()}", text, {"userSid": item.user_sid}
        case "Registry" if item.registry_key:
            text = "\\".join(filter(None, (item.registry_hive, item.registry_key)))
            return "registry", f"registry:{text.lower()}", text, {"value": item.registry_value}
    return None


def _process_id(device: str, process_id: int | None, started: datetime | None) -> str | None:
    if not process_id:
        return None
    return f"process:{device.partition(':')[2]}:{process_id}:{round(started.timestamp()) if started else ''}"


def _host(url: str) -> str:
    try:
        return urlsplit(url if "//" in url else f"//{url}").hostname or url
    except ValueError:
        return url


def _rank(verdict: str) -> int:
    return VERDICTS.index(verdict) if verdict in VERDICTS else 0


def _moment(time: datetime | None) -> float:
    return time.timestamp() if time else 0.0


def by_alert(evidence: Iterable[Evidence]) -> dict[str, list[Evidence]]:
    found: dict[str, list[Evidence]] = defaultdict(list)
    for item in evidence:
        found[item.alert_id].append(item)
    return found
