"""Assessments of all devices: page by page as JSON, and as files behind links that expire."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import orjson
from fastapi import Depends, Request
from starlette.responses import Response, StreamingResponse

from shieldwall.api import answers
from shieldwall.api.access import requires, services_of
from shieldwall.api.assessments import ASSESSMENTS, BY_KIND, CHANGES, TYPES, Assessment, pascal, shaped
from shieldwall.api.odata.clickhouse import Source, count_rows, fetch_rows
from shieldwall.api.odata.options import Options, read_options, read_query
from shieldwall.api.odata.parser import with_offset
from shieldwall.api.routing import router as new_router
from shieldwall.errors import ApiError, bad_request, missing_parameter
from shieldwall.exposure.links import ExportFile
from shieldwall.identity.principal import Principal
from shieldwall.state import scope
from shieldwall.times import now, parse, to_text

router = new_router("Assessments")

PAGE = 50_000
"""Rows of one page, and of one reading for a file."""
FILE_ROWS = 100_000
CHANGES_PAST = timedelta(days=14)
SNAPSHOT = "snapshot"
"""The option of next links that keeps a chain of pages at the moment of its first one."""


def _by_page(assessment: Assessment) -> Callable[..., Response]:
    def read(request: Request, principal: Principal = Depends(requires(assessment.permission))) -> Response:
        options, moment = _options(request, assessment)
        services = services_of(request)
        parameters = _parameters(services, principal.tenant_id, assessment, moment)
        if assessment is CHANGES:
            parameters["since"] = _sql_time(_since(request))
        found = fetch_rows(
            services.telemetry,
            principal.tenant_id,
            assessment.entity,
            Source(assessment.sql, parameters),
            options,
        )
        with services.database.read(principal.tenant_id) as session:
            items = shaped(assessment, session, found.rows)
        context = f"Collection({TYPES}.{assessment.entity.name})"
        return answers.collection(request, context, items, found, options)

    return read


def _by_files(assessment: Assessment) -> Callable[..., Response]:
    def read(request: Request, principal: Principal = Depends(requires(assessment.permission))) -> Response:
        hours = _hours(request, assessment)
        moment = now()
        services = services_of(request)
        rows = count_rows(
            services.telemetry,
            principal.tenant_id,
            assessment.entity,
            Source(assessment.sql, _parameters(services, principal.tenant_id, assessment, moment)),
            read_options("", assessment.entity),
        )
        parts = -(-rows // FILE_ROWS)
        base, reach = answers.base_url(request), scope.current()
        links = [
            services.export_links.link(
                base, ExportFile(principal.tenant_id, assessment.kind, moment, part, parts, reach), hours
            )
            for part in range(parts)
        ]
        body = {"exportFiles": links, "generatedTime": to_text(moment.replace(second=0, microsecond=0))}
        return answers.value(request, f"{TYPES}.ExportFilesResponse", body)

    return read


for _each in ASSESSMENTS:
    if _each.json:
        _about = f"{_each.entity.name} of all devices"
        router.get(f"/api/machines/{_each.json}", summary=_about, name=_each.json)(_by_page(_each))
    if _each.files:
        _about = f"{_each.entity.name} of all devices, as files"
        router.get(f"/api/machines/{_each.files}", summary=_about, name=_each.files)(_by_files(_each))


@router.get(
    "/downloads/exports/{day}/{minute}/{kind}/json/{organisation}/{name}", summary="Fetch a file of an export"
)
def export_file(day: str, minute: str, kind: str, organisation: str, name: str, request: Request) -> Response:
    """Gzip, one JSON object a line. The query of the link is the only credential."""
    services = services_of(request)
    query = dict(read_query(request.url.query))
    path = f"/downloads/exports/{day}/{minute}/{kind}/json/{organisation}/{name}"
    file = services.export_links.open(path, organisation.removeprefix("OrgId="), kind, query)
    assessment = BY_KIND.get(file.kind)
    if assessment is None:
        raise ApiError(404, "NotFound", "There is no such file.")
    request.app.state.limits.admit_link(file.tenant_id, path)
    return StreamingResponse(
        _compressed(_lines(services, assessment, file)),
        media_type="application/gzip",
        headers={"Cache-Control": "no-store"},
    )


def _lines(services: Any, assessment: Assessment, file: ExportFile) -> Iterator[bytes]:
    sql = (
        f"SELECT * FROM ({assessment.sql}) "  # noqa: S608
        "WHERE cityHash64(deviceId) % {parts:UInt32} = {part:UInt32}"
    )
    parameters = _parameters(services, file.tenant_id, assessment, file.moment)
    rows = Source(sql, {**parameters, "parts": file.parts, "part": file.part})
    query: str | None = f"pageSize={PAGE}"
    while query is not None:
        options = read_options(query, assessment.entity)
        # Each step runs in a context of its own.
        scope.narrow(file.reach)
        page = fetch_rows(services.telemetry, file.tenant_id, assessment.entity, rows, options)
        with services.database.read(file.tenant_id) as session:
            items = shaped(assessment, session, page.rows)
        for item in items:
            yield orjson.dumps(pascal(item), option=orjson.OPT_APPEND_NEWLINE)
        query = page.next


def _compressed(lines: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(wbits=31)
    for line in lines:
        if packed := packer.compress(line):
            yield packed
    yield packer.flush()


def _options(request: Request, assessment: Assessment) -> tuple[Options, datetime]:
    """The options of a page, and the moment whose rows it shows."""
    options = read_options(request.url.query, assessment.entity, max_page_size=PAGE)
    kept = tuple(pair for pair in options.pairs if pair[0].lower() != SNAPSHOT)
    asked = [value for name, value in options.pairs if name.lower() == SNAPSHOT]
    moment = min(_moment(asked[0], SNAPSHOT), now()) if asked else now()
    pairs = (*kept, (SNAPSHOT, to_text(moment)))
    return replace(options, pairs=pairs, page_size=min(options.page_size, PAGE)), moment


def _since(request: Request) -> datetime:
    text = _named(request).get("sincetime", "").strip()
    if not text:
        raise missing_parameter("sinceTime")
    since = _moment(text, "sinceTime")
    if not now() - CHANGES_PAST <= since:
        raise bad_request(f"sinceTime is more than {CHANGES_PAST.days} days ago.", "InvalidInput")
    return since


def _hours(request: Request, assessment: Assessment) -> int:
    """How long links hold; who asks for longer than there is gets the longest."""
    text = _named(request).get("sasvalidhours", "").strip()
    if not text:
        return assessment.default_hours
    if not (text.isascii() and text.isdigit() and len(text) < 9 and int(text) > 0):
        raise bad_request("sasValidHours must be a number of at least 1.", "InvalidInput")
    return min(int(text), assessment.most_hours)


def _named(request: Request) -> dict[str, str]:
    return {name.lower().lstrip("$"): value for name, value in read_query(request.url.query)}


def _moment(text: str, name: str) -> datetime:
    try:
        return parse(with_offset(text))
    except ValueError:
        raise bad_request(f"{name} is not a date and time.", "InvalidInput") from None


def _parameters(services: Any, tenant_id: str, assessment: Assessment, moment: datetime) -> dict[str, Any]:
    with services.database.read(tenant_id) as session:
        return {"until": _sql_time(moment), **assessment.parameters(session)}


def _sql_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")
