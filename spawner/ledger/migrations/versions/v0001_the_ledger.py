"""The ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="audit_pkey"),
    )
    op.create_index("audit_subject", "audit", ["subject"], unique=False)
    op.create_table(
        "gpus",
        sa.Column("uuid", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("memory", sa.BigInteger(), nullable=False),
        sa.Column("island", sa.Text(), nullable=False),
        sa.Column("compute_capability", sa.Text(), nullable=False),
        sa.Column("driver", sa.Text(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("healthy", sa.Boolean(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("present", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_since", sa.BigInteger(), nullable=True),
        sa.Column("state_by", sa.Text(), nullable=False),
        sa.Column("state_why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name="gpus_pkey"),
    )
    op.create_table(
        "leases",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("slots", sa.Text(), nullable=False),
        sa.Column("granted_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("groups", sa.Text(), nullable=False),
        sa.Column("course", sa.Text(), nullable=False),
        sa.Column("at_end", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("offered_until", sa.BigInteger(), nullable=True),
        sa.Column("seen_at", sa.BigInteger(), nullable=True),
        sa.Column("container", sa.Text(), nullable=False),
        sa.Column("ticket", sa.Text(), nullable=False),
        sa.Column("idle_since", sa.BigInteger(), nullable=True),
        sa.Column("warned", sa.Integer(), nullable=True),
        sa.Column("ending", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="leases_pkey"),
    )
    op.create_index("leases_granted_at", "leases", ["granted_at"], unique=False)
    op.create_index("leases_username_granted_at", "leases", ["username", "granted_at"], unique=False)
    op.create_index("leases_version", "leases", ["version"], unique=False)
    op.create_index(
        "one_open_lease_per_server",
        "leases",
        ["username", "server"],
        unique=True,
        sqlite_where=sa.text("state <> 'closed'"),
        postgresql_where=sa.text("state <> 'closed'"),
    )
    op.create_table(
        "loops",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("beat_at", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ttl_ms", sa.BigInteger(), nullable=False),
        sa.Column("succeeded_at", sa.BigInteger(), nullable=True),
        sa.Column("failed_at", sa.BigInteger(), nullable=True),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="loops_pkey"),
    )
    op.create_table(
        "pool",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("changes", sa.BigInteger(), nullable=False),
        sa.Column("inventory", sa.BigInteger(), nullable=False),
        sa.Column("quotas", sa.BigInteger(), nullable=False),
        sa.Column("queue", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pool_pkey"),
    )
    op.create_table(
        "quotas",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("subject", "name", "dimension", name="quotas_pkey"),
    )
    op.create_table(
        "reservations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("course", sa.Text(), nullable=False),
        sa.Column("slots", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("cancelled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="reservations_pkey"),
    )
    op.create_index("reservations_ends_at", "reservations", ["ends_at"], unique=False)
    op.create_table(
        "shares",
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("decayed_ms", sa.Double(), nullable=False),
        sa.Column("as_of", sa.BigInteger(), nullable=False),
        sa.Column("half_life_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("username", name="shares_pkey"),
    )
    op.create_table(
        "tickets",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("hours", sa.Double(), nullable=True),
        sa.Column("models", sa.Text(), nullable=False),
        sa.Column("kinds", sa.Text(), nullable=False),
        sa.Column("memory", sa.BigInteger(), nullable=False),
        sa.Column("course", sa.Text(), nullable=False),
        sa.Column("groups", sa.Text(), nullable=False),
        sa.Column("at_end", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("arrived_at", sa.BigInteger(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("moved_up", sa.Integer(), nullable=False),
        sa.Column("starts_itself", sa.Boolean(), nullable=False),
        sa.Column("lease", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="tickets_pkey"),
    )
    op.create_index(
        "one_live_ticket_per_server",
        "tickets",
        ["username", "server"],
        unique=True,
        sqlite_where=sa.text("state IN ('waiting', 'offered')"),
        postgresql_where=sa.text("state IN ('waiting', 'offered')"),
    )
    op.create_index("tickets_version", "tickets", ["version"], unique=False)
    op.create_table(
        "usage",
        sa.Column("lease", sa.Text(), nullable=False),
        sa.Column("slot", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("groups", sa.Text(), nullable=False),
        sa.Column("course", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.Column("gpu_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("lease", "slot", name="usage_pkey"),
    )
    op.create_index("usage_ended_at", "usage", ["ended_at"], unique=False)
    op.create_index("usage_username_ended_at", "usage", ["username", "ended_at"], unique=False)
    op.create_table(
        "lease_slots",
        sa.Column("lease", sa.Text(), nullable=False),
        sa.Column("slot", sa.Text(), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["lease"], ["leases.id"], name="lease_slots_lease_fkey"),
        sa.PrimaryKeyConstraint("lease", "slot", name="lease_slots_pkey"),
    )
    op.create_index(
        "one_open_lease_per_slot",
        "lease_slots",
        ["slot"],
        unique=True,
        sqlite_where=sa.text("open"),
        postgresql_where=sa.text("open"),
    )
    op.create_table(
        "slots",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("gpu", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("memory", sa.BigInteger(), nullable=False),
        sa.Column("isolation", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("island", sa.Text(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("present", sa.Boolean(), nullable=False),
        sa.Column("quarantined_at", sa.BigInteger(), nullable=True),
        sa.Column("quarantined_why", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["gpu"], ["gpus.uuid"], name="slots_gpu_fkey"),
        sa.PrimaryKeyConstraint("id", name="slots_pkey"),
    )
    op.create_index("slots_gpu", "slots", ["gpu"], unique=False)
    op.bulk_insert(
        sa.table("pool", *(sa.column(name) for name in ("id", "changes", "inventory", "quotas", "queue"))),
        [{"id": 1, "changes": 0, "inventory": 0, "quotas": 0, "queue": 0}],
    )
    _guard_slots()
    for table in ("usage", "audit"):
        _make_final(table)


def _guard_slots() -> None:
    """Let the database keep `lease_slots`; whoever makes `leases` anew has to do this again."""
    for statement in _SQLITE_GUARD if op.get_bind().dialect.name == "sqlite" else _POSTGRES_GUARD:
        op.execute(statement)


_SQLITE_GUARD = (
    """
    CREATE TRIGGER lease_slots_insert AFTER INSERT ON leases BEGIN
        INSERT INTO lease_slots (lease, slot, open)
            SELECT NEW.id, value, NEW.state <> 'closed' FROM json_each(NEW.slots);
    END
    """,
    """
    CREATE TRIGGER lease_slots_change AFTER UPDATE ON leases WHEN NEW.slots <> OLD.slots BEGIN
        DELETE FROM lease_slots WHERE lease = NEW.id;
        INSERT INTO lease_slots (lease, slot, open)
            SELECT NEW.id, value, NEW.state <> 'closed' FROM json_each(NEW.slots);
    END
    """,
    """
    CREATE TRIGGER lease_slots_open AFTER UPDATE ON leases
    WHEN (NEW.state = 'closed') <> (OLD.state = 'closed') BEGIN
        UPDATE lease_slots SET open = NEW.state <> 'closed' WHERE lease = NEW.id;
    END
    """,
)
_POSTGRES_GUARD = (
    """
    CREATE FUNCTION keep_lease_slots() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF TG_OP = 'INSERT' OR NEW.slots <> OLD.slots THEN
            DELETE FROM lease_slots WHERE lease = NEW.id;
            INSERT INTO lease_slots (lease, slot, open)
                SELECT NEW.id, slot, NEW.state <> 'closed' FROM json_array_elements_text(NEW.slots::json) AS slot;
        ELSE
            UPDATE lease_slots SET open = NEW.state <> 'closed' WHERE lease = NEW.id;
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER lease_slots_insert AFTER INSERT ON leases
    FOR EACH ROW EXECUTE FUNCTION keep_lease_slots()
    """,
    """
    CREATE TRIGGER lease_slots_change AFTER UPDATE ON leases
    FOR EACH ROW WHEN (NEW.slots <> OLD.slots OR (NEW.state = 'closed') <> (OLD.state = 'closed'))
    EXECUTE FUNCTION keep_lease_slots()
    """,
)


def _make_final(table: str) -> None:
    """Let the database refuse to change or remove rows."""
    said = f"rows of {table} are final"
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{said}'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION {table}_is_final() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{said}' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_is_final BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_is_final()"
    )
