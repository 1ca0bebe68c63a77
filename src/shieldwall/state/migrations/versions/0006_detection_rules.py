"""detection rules"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "detection_rule_cursors",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("rule_id", sa.String(length=64), nullable=False),
        sa.Column("done_until", sa.DateTime(), nullable=True),
        sa.Column("due", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "rule_id", name=op.f("pk_detection_rule_cursors")),
    )
    with op.batch_alter_table("detection_rule_cursors", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_detection_rule_cursors_due"), ["due"], unique=False)

    op.create_table(
        "detection_rule_responses",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("rule_id", sa.String(length=64), nullable=False),
        sa.Column("alert_id", sa.String(length=80), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("target", sa.String(length=128), nullable=False),
        sa.Column("device_id", sa.String(length=40), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("created_time", sa.DateTime(), nullable=False),
        sa.Column("requested_by", sa.String(length=200), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_detection_rule_responses")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("detection_rule_responses", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_detection_rule_responses_status_id"), ["status", "id"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_detection_rule_responses_tenant_id_alert_id_kind_target"),
            ["tenant_id", "alert_id", "kind", "target"],
            unique=True,
        )

    op.create_table(
        "detection_rule_revision",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_detection_rule_revision")),
    )
    op.create_table(
        "detection_rule_runs",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("rule_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("window_start", sa.DateTime(), nullable=False),
        sa.Column("window_end", sa.DateTime(), nullable=False),
        sa.Column("started", sa.DateTime(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("alerts", sa.Integer(), nullable=False),
        sa.Column("repeated", sa.BigInteger(), nullable=False),
        sa.Column("suppressed", sa.BigInteger(), nullable=False),
        sa.Column("over_limit", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_detection_rule_runs")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("detection_rule_runs", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_detection_rule_runs_tenant_id_rule_id_kind_window_end"),
            ["tenant_id", "rule_id", "kind", "window_end"],
            unique=True,
        )
        batch_op.create_index(batch_op.f("ix_detection_rule_runs_window_end"), ["window_end"], unique=False)

    op.create_table(
        "detection_rule_suppressions",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("rule_id", sa.String(length=64), nullable=False),
        sa.Column("column", sa.String(length=200), nullable=False),
        sa.Column("value", sa.String(length=2048), nullable=False),
        sa.Column("device", sa.String(length=255), nullable=True),
        sa.Column("device_group", sa.String(length=200), nullable=True),
        sa.Column("product", sa.String(length=200), nullable=True),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("expires_time", sa.DateTime(), nullable=True),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("created_time", sa.DateTime(), nullable=False),
        sa.Column("hits", sa.BigInteger(), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_detection_rule_suppressions")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("detection_rule_suppressions", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_detection_rule_suppressions_tenant_id_rule_id"),
            ["tenant_id", "rule_id"],
            unique=False,
        )

    op.create_table(
        "detection_rule_tunings",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("rule_id", sa.String(length=64), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=True),
        sa.Column("device_groups", sa.JSON(), nullable=True),
        sa.Column("actions", sa.JSON(), nullable=False),
        sa.Column("modified_by", sa.String(length=200), nullable=False),
        sa.Column("modified_time", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "rule_id", name=op.f("pk_detection_rule_tunings")),
    )
    op.create_table(
        "detection_rules",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("match_name", sa.String(length=300), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("title", sa.String(length=500), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("category", sa.String(length=64), nullable=False),
        sa.Column("techniques", sa.JSON(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("recommended_action", sa.Text(), nullable=False),
        sa.Column("period", sa.Integer(), nullable=False),
        sa.Column("lookback", sa.Integer(), nullable=True),
        sa.Column("entities", sa.JSON(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("created_time", sa.DateTime(), nullable=False),
        sa.Column("modified_by", sa.String(length=200), nullable=False),
        sa.Column("modified_time", sa.DateTime(), nullable=False),
        sa.Column("query_modified_time", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_detection_rules")),
    )
    with op.batch_alter_table("detection_rules", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_detection_rules_tenant_id_match_name"), ["tenant_id", "match_name"], unique=True
        )

    op.add_column("alerts", sa.Column("custom_details", sa.JSON(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("alerts", schema=None) as batch_op:
        batch_op.drop_column("custom_details")

    with op.batch_alter_table("detection_rules", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_detection_rules_tenant_id_match_name"))

    op.drop_table("detection_rules")
    op.drop_table("detection_rule_tunings")
    with op.batch_alter_table("detection_rule_suppressions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_detection_rule_suppressions_tenant_id_rule_id"))

    op.drop_table("detection_rule_suppressions")
    with op.batch_alter_table("detection_rule_runs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_detection_rule_runs_window_end"))
        batch_op.drop_index(batch_op.f("ix_detection_rule_runs_tenant_id_rule_id_kind_window_end"))

    op.drop_table("detection_rule_runs")
    op.drop_table("detection_rule_revision")
    with op.batch_alter_table("detection_rule_responses", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_detection_rule_responses_tenant_id_alert_id_kind_target"))
        batch_op.drop_index(batch_op.f("ix_detection_rule_responses_status_id"))

    op.drop_table("detection_rule_responses")
    with op.batch_alter_table("detection_rule_cursors", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_detection_rule_cursors_due"))

    op.drop_table("detection_rule_cursors")
