"""How long leases were found idle."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    for table in ("leases", "usage"):
        op.add_column(table, sa.Column("idle_ms", sa.BigInteger(), server_default="0", nullable=False))
