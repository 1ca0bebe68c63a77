"""evidence has one index, which begins with its alert"""

from collections.abc import Sequence

from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.drop_index(op.f("ix_alert_evidence_alert_id"), table_name="alert_evidence")


def downgrade() -> None:
    op.create_index(op.f("ix_alert_evidence_alert_id"), "alert_evidence", ["alert_id"], unique=False)
