"""Which devices the names and addresses belong to that alerts of other devices name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import Row, Table, bindparam, select, update
from sqlalchemy.orm import Session

from shieldwall.alerts.entity_models import OwnedName
from shieldwall.alerts.seen import chunks
from shieldwall.state.bulk import insert_rows

OWNERS_LIMIT = 5
"""A name of more devices tells nothing: behind every router there is a 192.168.1.10."""
NOTED = timedelta(hours=12)
"""How often it is noted that a device still has a name."""

_OWNED = cast(Table, OwnedName.__table__)


def owners(session: Session, tenant_id: str, keys: Collection[str], since: datetime) -> dict[str, list[str]]:
    """The devices that have had a name or address ``since`` then, by its key; none where there are many."""
    found: dict[str, list[str]] = defaultdict(list)
    for key, owner, last in _read(session, tenant_id, keys):
        if last >= since - NOTED:
            found[key].append(owner)
    return {key: devices for key, devices in found.items() if len(devices) <= OWNERS_LIMIT}


def note(session: Session, tenant_id: str, owned: Mapping[tuple[str, str], datetime]) -> None:
    """Keep which keys are of which devices, and when that was told."""
    known = {(key, owner): last for key, owner, last in _read(session, tenant_id, {key for key, _ in owned})}
    new, old = [], []
    for (key, owner), time in sorted(owned.items()):
        before = known.get((key, owner))
        if before is None:
            new.append({"tenant_id": tenant_id, "key": key, "owner_id": owner, "last_time": time})
        elif time > before + NOTED:
            old.append({"_key": key, "_owner": owner, "_time": time})
    connection = session.connection()
    insert_rows(connection, _OWNED, new)
    if old:
        which = (_OWNED.c.tenant_id == tenant_id, _OWNED.c.key == bindparam("_key"))
        changed = update(_OWNED).where(*which, _OWNED.c.owner_id == bindparam("_owner"))
        connection.execute(changed.values(last_time=bindparam("_time")), old)


def _read(session: Session, tenant_id: str, keys: Collection[str]) -> Iterator[Row[str, str, datetime]]:
    columns = (_OWNED.c.key, _OWNED.c.owner_id, _OWNED.c.last_time)
    for chunk in chunks(sorted(keys)):
        wanted = select(*columns).where(_OWNED.c.tenant_id == tenant_id, _OWNED.c.key.in_(chunk))
        yield from session.connection().execute(wanted.order_by(_OWNED.c.owner_id))
