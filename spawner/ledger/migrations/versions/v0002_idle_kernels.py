"""When a lease's kernels worked last, and what its server says is wrong."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("leases", sa.Column("busy_at", sa.BigInteger(), nullable=True))
    op.add_column("leases", sa.Column("problem", sa.Text(), server_default="", nullable=False))
