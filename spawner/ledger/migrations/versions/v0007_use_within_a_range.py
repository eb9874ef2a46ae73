"""What sums over a range read of each row lies in the index, so that they need not read the rows."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_index("usage_within", "usage", ["ended_at", "started_at", "idle_ms", "username", "model"], unique=False)
    op.drop_index("usage_ended_at", table_name="usage")
