"""correlation over devices"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_ADDED: dict[str, dict[str, tuple[sa.types.TypeEngine[Any], str]]] = {
    "incidents": {
        "named_by_hand": (sa.Boolean(), "false"),
        "graded_by_hand": (sa.Boolean(), "false"),
        "apart_from": (sa.JSON(), "'[]'"),
    },
    "alerts": {"link_reasons": (sa.JSON(), "'[]'")},
    "alert_evidence": {
        "verdict": (
            sa.String(length=16),
            "CASE WHEN detection_status IS NULL THEN 'Unknown' ELSE 'Suspicious' END",
        ),
        "remediation_status": (
            sa.String(length=16),
            "CASE WHEN detection_status IN ('Prevented', 'Blocked') THEN detection_status ELSE 'None' END",
        ),
    },
}
"""New columns that are never null, with what rows from before have in them."""


def upgrade() -> None:
    for table, columns in _ADDED.items():
        for name, (kind, _) in columns.items():
            op.add_column(table, sa.Column(name, kind, nullable=True))
        values: dict[Any, Any] = {sa.column(name): sa.text(value) for name, (_, value) in columns.items()}
        op.execute(sa.update(sa.table(table, *values)).values(values))
        with op.batch_alter_table(table) as batch:
            for name, (kind, _) in columns.items():
                batch.alter_column(name, existing_type=kind, nullable=False)
    op.add_column("alerts", sa.Column("moved_by", sa.String(length=200), nullable=True))
    # Links of before are of one device each and named otherwise; what they join, they have joined.
    op.drop_table("alert_links")
    op.create_table(
        "alert_links",
        sa.Column("alert_id", sa.String(length=80), nullable=False),
        sa.Column("key", sa.String(length=24), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("last_time", sa.DateTime(), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name=op.f("fk_alert_links_alert_id_alerts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("alert_id", "key", "kind", name=op.f("pk_alert_links")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_alert_links_last_time", "alert_links", ["last_time"], unique=False)
    op.create_index(
        "ix_alert_links_tenant_id_key_last_time",
        "alert_links",
        ["tenant_id", "key", "last_time"],
        unique=False,
    )
    op.create_table(
        "seen_entities",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("key", sa.String(length=24), nullable=False),
        sa.Column("alerts", sa.BigInteger(), nullable=False),
        sa.Column("devices", sa.LargeBinary(length=32), nullable=False),
        sa.Column("titles", sa.BigInteger(), nullable=False),
        sa.Column("days", sa.BigInteger(), nullable=False),
        sa.Column("first_time", sa.DateTime(), nullable=False),
        sa.Column("last_time", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "key", name=op.f("pk_seen_entities")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("seen_entities")
    op.drop_table("alert_links")
    op.create_table(
        "alert_links",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("alert_id", sa.String(length=80), nullable=False),
        sa.Column("key", sa.String(length=40), nullable=False),
        sa.Column("time", sa.DateTime(), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name=op.f("fk_alert_links_alert_id_alerts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_links")),
    )
    op.create_index("ix_alert_links_alert_id", "alert_links", ["alert_id"], unique=False)
    op.create_index(
        "ix_alert_links_tenant_id_key_time", "alert_links", ["tenant_id", "key", "time"], unique=False
    )
    for table, columns in _ADDED.items():
        with op.batch_alter_table(table) as batch:
            for name in (*columns, *(["moved_by"] if table == "alerts" else [])):
                batch.drop_column(name)
