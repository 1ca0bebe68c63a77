"""external alerts"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "external_indicator_policies",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("rules", sa.JSON(), nullable=False),
        sa.Column("allowed", sa.JSON(), nullable=False),
        sa.Column("updated_time", sa.DateTime(), nullable=False),
        sa.Column("updated_by", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_external_indicator_policies")),
    )
    op.create_table(
        "external_sources",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("vendor", sa.String(length=200), nullable=False),
        sa.Column("product", sa.String(length=200), nullable=False),
        sa.Column("sensor", sa.String(length=200), nullable=False),
        sa.Column("offsets", sa.JSON(), nullable=False),
        sa.Column("alerts", sa.Integer(), nullable=False),
        sa.Column("first_seen", sa.DateTime(), nullable=False),
        sa.Column("last_seen", sa.DateTime(), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_external_sources")),
    )
    with op.batch_alter_table("external_sources", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_external_sources_tenant_id_vendor_product_sensor"),
            ["tenant_id", "vendor", "product", "sensor"],
            unique=True,
        )

    op.create_table(
        "external_alerts",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("identity", sa.String(length=64), nullable=False),
        sa.Column("alert_id", sa.String(length=80), nullable=False),
        sa.Column("vendor", sa.String(length=200), nullable=False),
        sa.Column("product", sa.String(length=200), nullable=False),
        sa.Column("sensor", sa.String(length=200), nullable=False),
        sa.Column("partner_id", sa.String(length=500), nullable=True),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("received_time", sa.DateTime(), nullable=False),
        sa.Column("updated_time", sa.DateTime(), nullable=False),
        sa.Column("digests", sa.JSON(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try", sa.DateTime(), nullable=True),
        sa.Column("wanted", sa.JSON(), nullable=False),
        sa.Column("confidence", sa.Integer(), nullable=False),
        sa.Column("resolution", sa.JSON(), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name=op.f("fk_external_alerts_alert_id_alerts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_external_alerts")),
    )
    with op.batch_alter_table("external_alerts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_external_alerts_alert_id"), ["alert_id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_external_alerts_state_next_try"), ["state", "next_try"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_external_alerts_tenant_id_identity"), ["tenant_id", "identity"], unique=True
        )

    op.create_table(
        "external_indicator_offers",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("alert_id", sa.String(length=80), nullable=False),
        sa.Column("indicator_type", sa.String(length=32), nullable=False),
        sa.Column("indicator_value", sa.String(length=2048), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("title", sa.String(length=500), nullable=False),
        sa.Column("source", sa.String(length=401), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_time", sa.DateTime(), nullable=False),
        sa.Column("decided_by", sa.String(length=200), nullable=True),
        sa.Column("decided_time", sa.DateTime(), nullable=True),
        sa.Column("reason", sa.String(length=1000), nullable=True),
        sa.Column("indicator_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(
            ["alert_id"],
            ["alerts.id"],
            name=op.f("fk_external_indicator_offers_alert_id_alerts"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_external_indicator_offers")),
    )
    with op.batch_alter_table("external_indicator_offers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_external_indicator_offers_alert_id"), ["alert_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_external_indicator_offers_state"), ["state"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_external_indicator_offers_tenant_id_digest"), ["tenant_id", "digest"], unique=True
        )
        batch_op.create_index(
            batch_op.f("ix_external_indicator_offers_tenant_id_state"), ["tenant_id", "state"], unique=False
        )


def downgrade() -> None:
    with op.batch_alter_table("external_indicator_offers", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_external_indicator_offers_tenant_id_state"))
        batch_op.drop_index(batch_op.f("ix_external_indicator_offers_tenant_id_digest"))
        batch_op.drop_index(batch_op.f("ix_external_indicator_offers_state"))
        batch_op.drop_index(batch_op.f("ix_external_indicator_offers_alert_id"))

    op.drop_table("external_indicator_offers")
    with op.batch_alter_table("external_alerts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_external_alerts_tenant_id_identity"))
        batch_op.drop_index(batch_op.f("ix_external_alerts_state_next_try"))
        batch_op.drop_index(batch_op.f("ix_external_alerts_alert_id"))

    op.drop_table("external_alerts")
    with op.batch_alter_table("external_sources", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_external_sources_tenant_id_vendor_product_sensor"))

    op.drop_table("external_sources")
    op.drop_table("external_indicator_policies")
