"""Lists of alerts, of the whole tenant or of what a route limits them to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from fastapi import Request
from sqlalchemy import Row, select
from sqlalchemy.orm import Session
from starlette.responses import Response

from shieldwall.alerts.models import AlertComment, Evidence
from shieldwall.api import answers, sets, shapes
from shieldwall.api.access import services_of
from shieldwall.api.answers import Entity
from shieldwall.api.columns import Columns
from shieldwall.api.odata.compile import Condition
from shieldwall.api.odata.options import read_options
from shieldwall.api.odata.query import count, parts
from shieldwall.identity.principal import Principal


def alert_page(request: Request, principal: Principal, *where: Condition) -> Response:
    """The answer to a list of alerts under the request's options."""
    options = read_options(request.url.query, sets.ALERTS)
    database = services_of(request).database
    with_evidence = "evidence" in options.expand

    def shape(session: Session, rows: Sequence[Row[Any]]) -> list[Entity]:
        """The alerts of some rows; what belongs to all of them comes with one query of each kind."""
        identifiers = [row.id for row in rows]
        evidence = _of_alerts(session, Evidence, shapes.EVIDENCE, identifiers) if with_evidence else {}
        comments = _of_alerts(session, AlertComment, shapes.COMMENT, identifiers)
        return [
            shapes.alert_with(shapes.ALERT.of_row(row), evidence.get(row.id, []), comments.get(row.id, []))
            for row in rows
        ]

    def read() -> AbstractContextManager[Session]:
        return database.read(principal.tenant_id)

    found = parts(read, sets.ALERTS, options, shapes.ALERT.selected, shape, *where)
    return answers.stream(request, "Alerts", found, options)


def alert_count(request: Request, principal: Principal, *where: Condition) -> Response:
    options = read_options(request.url.query, sets.ALERTS)
    with services_of(request).database.read(principal.tenant_id) as session:
        return answers.number(count(session, sets.ALERTS, options, *where))


def _of_alerts(
    session: Session, model: type[Evidence] | type[AlertComment], columns: Columns, identifiers: Sequence[str]
) -> dict[str, list[Entity]]:
    """What belongs to alerts, by the alert's id, in the order in which it came."""
    found: dict[str, list[Entity]] = defaultdict(list)
    wanted = select(*columns.selected, model.alert_id)
    rows = session.execute(wanted.where(model.alert_id.in_(identifiers)).order_by(model.id))
    for row in rows:
        found[row[-1]].append(columns.of_row(row))
    return found
