"""What is said to who takes more of a GPU than their share."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("leases", sa.Column("warning", sa.Text(), server_default="", nullable=False))
