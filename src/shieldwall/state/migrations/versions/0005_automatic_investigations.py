"""automatic investigations"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    for table in ("tenants", "device_groups"):
        with op.batch_alter_table(table) as batch:
            batch.add_column(sa.Column("automation_level", sa.String(length=24), nullable=True))
    with op.batch_alter_table("investigations") as batch:
        batch.add_column(sa.Column("wanted", sa.Integer(), nullable=True))
        batch.add_column(sa.Column("judged", sa.Integer(), nullable=True))
    op.execute("UPDATE investigations SET wanted = 1, judged = CASE state WHEN 'Queued' THEN 0 ELSE 1 END")
    with op.batch_alter_table("investigations") as batch:
        batch.alter_column("wanted", existing_type=sa.Integer(), nullable=False)
        batch.alter_column("judged", existing_type=sa.Integer(), nullable=False)
    # What was there before alerts started investigations by themselves starts none now.
    op.execute(
        "UPDATE alerts SET investigation_state = 'UnsupportedAlertType' WHERE investigation_state IS NULL"
    )
    op.create_index(
        "ix_alerts_tenant_id_investigation_id", "alerts", ["tenant_id", "investigation_id"], unique=False
    )
    op.create_index(
        "ix_alerts_waiting",
        "alerts",
        ["tenant_id", "machine_id"],
        unique=False,
        sqlite_where=sa.text("investigation_state IS NULL"),
        postgresql_where=sa.text("investigation_state IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_alerts_waiting", table_name="alerts")
    op.drop_index("ix_alerts_tenant_id_investigation_id", table_name="alerts")
    with op.batch_alter_table("investigations") as batch:
        batch.drop_column("judged")
        batch.drop_column("wanted")
    for table in ("device_groups", "tenants"):
        with op.batch_alter_table(table) as batch:
            batch.drop_column("automation_level")
