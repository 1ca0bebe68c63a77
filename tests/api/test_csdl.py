"""The documents of types: well formed, whole in themselves, and true of what is answered."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from shieldwall.alerts.models import Alert
from shieldwall.api import csdl
from shieldwall.api.contract import load
from tests.api.conftest import DEVICE, URL, Api, entity
from tests.conftest import TENANT

EDM = f"{{{csdl.EDM}}}"
DOCUMENTS = {"/api/$metadata": csdl.DEFENDER, "/v1.0/$metadata": csdl.GRAPH}
TYPES = ("EntityType", "ComplexType")


def schemas(document: bytes) -> dict[str, ET.Element]:
    root = ET.fromstring(document)
    assert root.tag == f"{{{csdl.EDMX}}}Edmx"
    assert root.get("Version") == "4.0"
    (services,) = root
    assert services.tag == f"{{{csdl.EDMX}}}DataServices"
    assert all(schema.tag == f"{EDM}Schema" for schema in services)
    return {schema.attrib["Namespace"]: schema for schema in services}


def types(document: bytes) -> dict[str, ET.Element]:
    return {
        f"{namespace}.{each.attrib['Name']}": each
        for namespace, schema in schemas(document).items()
        for kind in TYPES
        for each in schema.findall(f"{EDM}{kind}")
    }


def properties(known: Mapping[str, ET.Element], name: str) -> dict[str, ET.Element]:
    """The properties of a type, with those of its base."""
    found = known[name]
    own = {
        each.attrib["Name"]: each
        for kind in ("Property", "NavigationProperty")
        for each in found.findall(f"{EDM}{kind}")
    }
    base = found.get("BaseType")
    return (properties(known, base) if base else {}) | own


def undeclared(known: Mapping[str, ET.Element], name: str, body: Mapping[str, Any]) -> Iterator[str]:
    """What ``body`` has and its type has not, or of another kind than its type says."""
    if known[name].get("OpenType") == "true":
        return
    declared = properties(known, name)
    for key, value in body.items():
        if key.startswith("@"):
            continue
        if key not in declared:
            yield f"{name}/{key}"
            continue
        kind = declared[key].attrib["Type"]
        many = kind.startswith("Collection(")
        plain = kind.removeprefix("Collection(").rstrip(")")
        if value is None:
            if declared[key].get("Nullable") == "false":
                yield f"{name}/{key} is null"
        elif isinstance(value, list) != many:
            yield f"{name}/{key} is {value!r}"
        else:
            for item in value if many else [value]:
                if isinstance(item, dict):
                    yield from undeclared(known, item.get("@odata.type", plain).lstrip("#"), item)
                elif not fits(plain, item):
                    yield f"{name}/{key} is {item!r}"


def fits(kind: str, value: Any) -> bool:
    if kind in ("Edm.Int32", "Edm.Int64"):
        return type(value) is int
    if kind == "Edm.Boolean":
        return type(value) is bool
    if kind == "Edm.Double":
        return isinstance(value, int | float)
    return isinstance(value, str)


@pytest.mark.parametrize("path", DOCUMENTS)
def test_metadata_is_csdl_whose_types_are_all_there(api: Api, path: str) -> None:
    answer = api.call("GET", path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/xml; charset=utf-8"
    assert answer.headers["odata-version"] == "4.0"
    known = types(answer.content)
    for schema in schemas(answer.content).values():
        for element in schema.iter():
            for attribute in ("Type", "BaseType", "EntityType"):
                name = element.get(attribute, "Edm.String").removeprefix("Collection(").rstrip(")")
                assert name in known or name.startswith("Edm."), f"{element.tag} {element.attrib}"
        names = [each.attrib["Name"] for kind in TYPES for each in schema.findall(f"{EDM}{kind}")]
        assert len(names) == len(set(names))
    for found in known.values():
        for key in found.iter(f"{EDM}PropertyRef"):
            declared = {each.attrib["Name"]: each for each in found.findall(f"{EDM}Property")}
            assert declared[key.attrib["Name"]].get("Nullable") == "false"


def test_functions_of_one_name_differ_in_what_they_are_bound_to() -> None:
    schema = schemas(csdl.defender())[csdl.DEFENDER]
    for kind in ("Function", "Action"):
        bound = [
            (each.attrib["Name"].lower(), each.findall(f"{EDM}Parameter")[0].attrib["Type"])
            for each in schema.findall(f"{EDM}{kind}")
        ]
        assert bound
        assert len(bound) == len(set(bound)), kind


@pytest.mark.parametrize("name", csdl.SETS)
def test_each_collection_has_its_type_and_key(name: str) -> None:
    kind, key = csdl.SETS[name]
    assert key in load().entities[kind]


def test_what_is_answered_is_what_the_documents_tell(api: Api) -> None:
    with api.services.database.session(TENANT) as session:
        row = session.get(Alert, f"da{2:018d}_1")
        row.evidence.append(entity("Registry", registry_hive="HKEY_USERS", registry_key="Run"))
        row.evidence.append(entity("Registry", registry_hive="HKEY_USERS", registry_value="x"))
    api.call("POST", f"/api/machines/{DEVICE}/isolate", json={"Comment": "x", "IsolationType": "Full"})
    told = {"indicatorValue": "203.0.113.7", "indicatorType": "IpAddress", "action": "Block"}
    api.call("POST", "/api/indicators", json={**told, "title": "t", "description": "d"})
    asked = {
        "/api/alerts?$expand=evidence": f"{csdl.DEFENDER}.Alert",
        "/api/incidents": f"{csdl.DEFENDER}.Incident",
        "/api/machines": f"{csdl.DEFENDER}.Machine",
        "/api/machineactions": f"{csdl.DEFENDER}.MachineAction",
        "/api/indicators": f"{csdl.DEFENDER}.Indicator",
        "/v1.0/security/incidents?$expand=alerts": f"{csdl.GRAPH}.incident",
        "/v1.0/security/alerts_v2": f"{csdl.GRAPH}.alert",
    }
    known = types(csdl.defender()) | types(csdl.graph())
    problems: list[str] = []
    for path, name in asked.items():
        items = api.get(path)["value"]
        assert items, path
        problems += [problem for item in items for problem in undeclared(known, name, item)]
    assert sorted(set(problems)) == []


def test_metadata_needs_a_token_of_any_kind(api: Api) -> None:
    assert api.http.request("GET", f"{URL}/api/$metadata").status_code == 401
    assert api.http.request("GET", f"{URL}/v1.0/$metadata").status_code == 401
    assert api.call("GET", "/v1.0/$metadata", roles=("Ti.ReadWrite",)).status_code == 200
