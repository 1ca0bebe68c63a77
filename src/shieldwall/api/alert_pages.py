"""Lists of alerts, of the whole tenant or of what a route limits them to."""

from __future__ import annotations

from fastapi import Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from shieldwall.alerts.models import Evidence
from shieldwall.api import answers, sets, shapes
from shieldwall.api.access import services_of
from shieldwall.api.odata.compile import Condition
from shieldwall.api.odata.options import Options, read_options
from shieldwall.api.odata.query import Page, count, fetch
from shieldwall.identity.principal import Principal


def alert_page(request: Request, principal: Principal, *where: Condition) -> Response:
    """The answer to a list of alerts under the request's options."""
    options = read_options(request.url.query, sets.ALERTS)
    with services_of(request).database.read(principal.tenant_id) as session:
        page = fetch(session, sets.ALERTS, options, *where)
        items = _with_evidence(session, page, options)
    return answers.collection(request, "Alerts", items, page, options)


def alert_count(request: Request, principal: Principal, *where: Condition) -> Response:
    options = read_options(request.url.query, sets.ALERTS)
    with services_of(request).database.read(principal.tenant_id) as session:
        return answers.number(count(session, sets.ALERTS, options, *where))


def _with_evidence(session: Session, page: Page, options: Options) -> list[answers.Entity]:
    """The alerts of a page; the evidence of all of them comes with one query when it is asked for."""
    found: dict[str, list[Evidence]] = {}
    if "evidence" in options.expand and page.rows:
        wanted = select(Evidence).where(Evidence.alert_id.in_([row.id for row in page.rows]))
        for item in session.scalars(wanted.order_by(Evidence.id)):
            found.setdefault(item.alert_id, []).append(item)
    return [shapes.alert(row, found.get(row.id)) for row in page.rows]
