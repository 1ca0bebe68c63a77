"""names and addresses of devices"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "owned_names",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("key", sa.String(length=24), nullable=False),
        sa.Column("owner_id", sa.String(length=40), nullable=False),
        sa.Column("last_time", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "key", "owner_id", name=op.f("pk_owned_names")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("owned_names")
