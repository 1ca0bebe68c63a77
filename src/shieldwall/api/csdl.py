"""The types of the service as CSDL 4.0, made from the contract, so that an OData client can load them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from functools import cache

from shieldwall.api.contract import Operation, Type, load

EDMX = "http://docs.oasis-open.org/odata/ns/edmx"
EDM = "http://docs.oasis-open.org/odata/ns/edm"
DEFENDER = "microsoft.windowsDefenderATP.api"
GRAPH_ROOT = "microsoft.graph"
GRAPH = "microsoft.graph.security"

SETS: Mapping[str, tuple[str, str]] = {
    "Alerts": ("Alert", "id"),
    "Machines": ("Machine", "id"),
    "MachineActions": ("MachineAction", "id"),
    "Investigations": ("Investigation", "id"),
    "Indicators": ("Indicator", "id"),
    "Incidents": ("Incident", "incidentId"),
    "LibraryFiles": ("LibraryFile", "fileName"),
    "Files": ("File", "sha1"),
    "Ips": ("Ip", "id"),
    "Domains": ("Domain", "host"),
    "Users": ("User", "id"),
    "Software": ("Software", "id"),
    "Vulnerabilities": ("Vulnerability", "id"),
    "Recommendations": ("Recommendation", "id"),
    "RemediationTasks": ("RemediationTask", "id"),
    "MachineReferences": ("MachineReference", "id"),
    "DeviceAuthenticatedScanDefinitions": ("ScanDefinition", "id"),
    "DeviceAuthenticatedScanAgents": ("ScanAgent", "id"),
    "DeviceAvInfo": ("DeviceAvInfo", "id"),
    "BaselineProfiles": ("BaselineProfile", "id"),
    "BaselineConfigurations": ("BaselineConfiguration", "id"),
    "BaselineExceptions": ("BaselineException", "id"),
    "DataExportSettings": ("DataExportSettings", "id"),
}
"""Collections of Defender with their type and its key."""

GRAPH_SETS: Mapping[str, tuple[str, str]] = {
    "incidents": ("GraphIncident", "id"),
    "alerts_v2": ("GraphAlert", "id"),
}
_GRAPH_NAVIGATION: Mapping[str, Mapping[str, str]] = {"GraphIncident": {"alerts": "GraphAlert"}}
_GRAPH_BASE = "GraphAlertEvidence"
"""What every other type of evidence is one of."""

_PRIMITIVE = {
    "string": "Edm.String",
    "int": "Edm.Int32",
    "long": "Edm.Int64",
    "double": "Edm.Double",
    "bool": "Edm.Boolean",
    "datetime": "Edm.DateTimeOffset",
    "guid": "Edm.Guid",
    "number": "Edm.Int64",
    "Edm.String": "Edm.String",
}
_OPEN = "Dynamic"
"""The type of what has no properties that could be told before."""
_ARGUMENTS = re.compile(r"(\w+)=")
_BOUND = re.compile(r"/api/(?P<set>\w+)(?:/\{\w+\})?/(?P<name>\w+)(?:\((?P<arguments>.*)\))?", re.IGNORECASE)


@cache
def defender() -> bytes:
    """The document of `/api/$metadata`."""
    contract = load()
    entities = {name: each for name, each in contract.entities.items() if not name.startswith("Graph")}
    entities.pop("TokenResponse")
    root, services = _document()
    schema = _schema(services, DEFENDER)
    keys = dict(SETS.values())
    for name, properties in entities.items():
        _type(schema, DEFENDER, name, properties, keys.get(name))
    _open_type(schema)
    for operation in contract.operations:
        if operation.path.startswith("/api/") and not operation.path.endswith("$count"):
            _bound(schema, operation)
    container = _element(schema, "EntityContainer", Name="Container")
    for name, (kind, _) in SETS.items():
        _element(container, "EntitySet", Name=name, EntityType=f"{DEFENDER}.{kind}")
    return _text(root)


@cache
def graph() -> bytes:
    """The document of `/v1.0/$metadata`, as far as Graph is served."""
    entities = {name: each for name, each in load().entities.items() if name.startswith("Graph")}
    root, services = _document()
    schema = _schema(services, GRAPH)
    keys = dict(GRAPH_SETS.values())
    for name, properties in entities.items():
        derived = name.endswith("Evidence") and name != _GRAPH_BASE
        made = _type(schema, GRAPH, name, properties, keys.get(name), _GRAPH_BASE if derived else None)
        for target, kind in _GRAPH_NAVIGATION.get(name, {}).items():
            _element(made, "NavigationProperty", Name=target, Type=f"Collection({GRAPH}.{_plain(kind)})")
    _open_type(schema)
    hunt = _element(schema, "Action", Name="runHuntingQuery", IsBound="true")
    _element(hunt, "Parameter", Name="bindingParameter", Type=f"{GRAPH_ROOT}.security", Nullable="false")
    _element(hunt, "Parameter", Name="query", Type="Edm.String", Nullable="false")
    _element(hunt, "Parameter", Name="timespan", Type="Edm.String")
    _element(hunt, "ReturnType", Type=f"{GRAPH}.queryResult")
    top = _schema(services, GRAPH_ROOT)
    security = _element(top, "EntityType", Name="security")
    for name, (kind, _) in GRAPH_SETS.items():
        _element(
            security,
            "NavigationProperty",
            Name=name,
            Type=f"Collection({GRAPH}.{_plain(kind)})",
            ContainsTarget="true",
        )
    container = _element(top, "EntityContainer", Name="GraphService")
    _element(container, "Singleton", Name="security", Type=f"{GRAPH_ROOT}.security")
    return _text(root)


def _type(
    schema: ET.Element,
    namespace: str,
    name: str,
    properties: Mapping[str, Type],
    key: str | None,
    base: str | None = None,
) -> ET.Element:
    """An entity type where there is a key, else a complex one; its properties as the contract has them."""
    made = ET.Element("EntityType" if key else "ComplexType", Name=_plain(name))
    if base:
        made.set("BaseType", f"{namespace}.{_plain(base)}")
    if key:
        _element(_element(made, "Key"), "PropertyRef", Name=key)
    for each, kind in properties.items():
        if not each.startswith("@"):
            nullable = "true" if kind.nullable and each != key else "false"
            _element(made, "Property", Name=each, Type=_reference(namespace, kind), Nullable=nullable)
    schema.append(made)
    return made


def _reference(namespace: str, kind: Type) -> str:
    name = kind.of if kind.name == "array" else kind.name
    found = _PRIMITIVE.get(name) or f"{namespace}.{_OPEN if name == 'object' else _plain(name)}"
    return f"Collection({found})" if kind.name == "array" else found


def _bound(schema: ET.Element, operation: Operation) -> None:
    """What an operation does with an entity, or with a collection, as a function or an action of it."""
    found = _BOUND.fullmatch(operation.path)
    sets = {name.lower(): kind for name, (kind, _) in SETS.items()}
    if found is None or found["set"].lower() not in sets or operation.method not in ("GET", "POST"):
        return
    bound = f"{DEFENDER}.{sets[found['set'].lower()]}"
    if "{" not in operation.path.partition("(")[0]:
        bound = f"Collection({bound})"
    made = _element(
        schema, "Function" if operation.method == "GET" else "Action", Name=found["name"], IsBound="true"
    )
    _element(made, "Parameter", Name="bindingParameter", Type=bound, Nullable="false")
    for name in _ARGUMENTS.findall(found["arguments"] or ""):
        kind = {"timestamp": "Edm.DateTimeOffset", "index": "Edm.Int32"}.get(name, "Edm.String")
        _element(made, "Parameter", Name=name, Type=kind, Nullable="false")
    for name, needed in (operation.parameters or {}).items():
        _element(made, "Parameter", Name=name, Type="Edm.String", Nullable=str(not needed).lower())
    for name, body in (operation.body or {}).items():
        nullable = str(not body.required).lower()
        _element(made, "Parameter", Name=name, Type=_reference(DEFENDER, body), Nullable=nullable)
    if kind := operation.answer.kind:
        answer = _PRIMITIVE.get(kind) or f"{DEFENDER}.{kind}"
        _element(made, "ReturnType", Type=f"Collection({answer})" if operation.answer.many else answer)


def _open_type(schema: ET.Element) -> None:
    _element(schema, "ComplexType", Name=_OPEN, OpenType="true")


def _plain(name: str) -> str:
    """Graph's types are told from Defender's by a prefix in the contract, and begin with a small letter."""
    if name.startswith("Graph"):
        name = name.removeprefix("Graph")
        return name[0].lower() + name[1:]
    return name


def _document() -> tuple[ET.Element, ET.Element]:
    root = ET.Element("edmx:Edmx", {"xmlns:edmx": EDMX, "Version": "4.0"})
    return root, _element(root, "edmx:DataServices")


def _schema(services: ET.Element, namespace: str) -> ET.Element:
    return _element(services, "Schema", xmlns=EDM, Namespace=namespace)


def _element(parent: ET.Element, tag: str, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, tag, attributes)


def _text(root: ET.Element) -> bytes:
    ET.indent(root)
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root)
