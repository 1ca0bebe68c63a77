"""Large sets of texts, kept in tables of the database's memory and named by what is in them.

Written into each statement, they would cost more than the search itself: 8,000 texts take 65 ms to be read as
SQL, and 5 ms from a table.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from clickhouse_connect.driver.client import Client

from shieldwall.kql import sql
from shieldwall.kql.clickhouse import SETTINGS
from shieldwall.telemetry.ddl import DATABASE

FEW = 50
"""So many are read as SQL just as fast."""
_PREFIX = "RuleTexts_"
"""With a capital, as no query can name a table of its own."""
_UNUSED = 86_400
"""Seconds after which a table that nobody names is removed: no statement takes that long."""


@dataclass(frozen=True)
class Needles:
    """Patterns, none with a line break in it, that are looked for together."""

    patterns: tuple[str, ...]

    @property
    def is_kept(self) -> bool:
        return len(self.patterns) > FEW

    @cached_property
    def table(self) -> str:
        return f"{_PREFIX}{sha256(self._joined.encode()).hexdigest()[:32]}"

    @property
    def expression(self) -> str:
        """SQL of all of them as an array."""
        if self.is_kept:
            return f"(SELECT patterns FROM {DATABASE}.{self.table})"
        return f"[{', '.join(map(sql.quote, self.patterns))}]"

    def keep(self, client: Client) -> None:
        """Make the table anew: after a start it is there, and empty."""
        client.command(
            f"CREATE OR REPLACE TABLE {DATABASE}.{self.table} ENGINE = Memory AS "
            f"SELECT splitByChar('\\n', {sql.quote(self._joined)}) AS patterns "
            f"SETTINGS max_query_size = {SETTINGS['max_query_size']}"
        )

    @property
    def _joined(self) -> str:
        return "\n".join(self.patterns)


def forget_others(client: Client, used: Collection[Needles]) -> None:
    """Remove tables that have long been there and are not ``used``."""
    names = {needles.table for needles in used}
    old = (
        f"SELECT name FROM system.tables WHERE database = '{DATABASE}' AND startsWith(name, '{_PREFIX}') "
        f"AND metadata_modification_time < now() - {_UNUSED}"
    )
    for (name,) in client.query(old).result_rows:
        if name not in names:
            client.command(f"DROP TABLE IF EXISTS {DATABASE}.{name} SYNC")
