"""The ledger's tables. docs/reference/ledger.md describes them; the migrations make them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    text,
)

from ..policy.classes import HomesAfter, Late, Role, Wish
from ..policy.gpus import GpuState, Isolation, SlotKind
from ..policy.handouts import Kind, Outcome
from ..policy.homes import HomeState, Phase
from ..policy.leases import LeaseState, TicketState
from ..policy.model import AtEnd
from ..policy.quota import Subject
from .types import Choice, Ids, Json, Kinds, Length, Names, QuotaValue, UtcMs, Words

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "ix": "%(table_name)s_%(column_0_N_name)s",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

# As in the partial indexes below: a database uses one only for a query that has these very words.
OPEN_LEASE = text("state <> 'closed'")
LIVE_TICKET = text("state IN ('waiting', 'offered')")
OPEN_SLOT = text("open")

pool = Table(
    "pool",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("changes", BigInteger, nullable=False),
    Column("inventory", BigInteger, nullable=False),
    Column("quotas", BigInteger, nullable=False),
    Column("queue", BigInteger, nullable=False),
)

gpus = Table(
    "gpus",
    metadata,
    Column("uuid", Words, primary_key=True),
    Column("node", Words, nullable=False),
    Column("number", Integer, nullable=False),
    Column("model", Words, nullable=False),
    Column("memory", BigInteger, nullable=False),
    Column("island", Words, nullable=False),
    Column("compute_capability", Words, nullable=False),
    Column("driver", Words, nullable=False),
    Column("simulated", Boolean, nullable=False),
    Column("healthy", Boolean, nullable=False),
    Column("problem", Words, nullable=False),
    Column("present", Boolean, nullable=False),
    Column("state", Choice(GpuState), nullable=False),
    Column("state_since", UtcMs),
    Column("state_by", Words, nullable=False),
    Column("state_why", Words, nullable=False),
)

slots = Table(
    "slots",
    metadata,
    Column("id", Words, primary_key=True),
    Column("gpu", Words, ForeignKey("gpus.uuid"), nullable=False, index=True),
    Column("place", Integer, nullable=False),
    Column("node", Words, nullable=False),
    Column("kind", Choice(SlotKind), nullable=False),
    Column("model", Words, nullable=False),
    Column("memory", BigInteger, nullable=False),
    Column("isolation", Choice(Isolation), nullable=False),
    Column("device", Words, nullable=False),
    Column("island", Words, nullable=False),
    Column("simulated", Boolean, nullable=False),
    Column("present", Boolean, nullable=False),
    Column("quarantined_at", UtcMs),
    Column("quarantined_why", Words, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("id", Words, primary_key=True),
    Column("version", BigInteger, nullable=False, index=True),
    Column("username", Words, nullable=False),
    Column("server", Words, nullable=False),
    Column("profile", Words, nullable=False),
    Column("state", Choice(LeaseState), nullable=False),
    Column("slots", Ids, nullable=False),
    Column("granted_at", UtcMs, nullable=False, index=True),
    Column("ends_at", UtcMs, nullable=False),
    Column("changed_at", UtcMs, nullable=False),
    Column("groups", Names, nullable=False),
    Column("course", Words, nullable=False),
    Column("at_end", Choice(AtEnd), nullable=False),
    Column("started_at", UtcMs),
    Column("closed_at", UtcMs),
    Column("offered_until", UtcMs),
    Column("seen_at", UtcMs),
    Column("container", Words, nullable=False),
    Column("ticket", Words, nullable=False),
    Column("busy_at", UtcMs),
    Column("idle_since", UtcMs),
    Column("idle_ms", BigInteger, nullable=False, server_default="0"),
    Column("problem", Words, nullable=False, server_default=""),
    Column("warning", Words, nullable=False, server_default=""),
    Column("warned", Integer),
    Column("ending", Words, nullable=False),
    Index(
        "one_open_lease_per_server",
        "username",
        "server",
        unique=True,
        sqlite_where=OPEN_LEASE,
        postgresql_where=OPEN_LEASE,
    ),
    Index("leases_username_granted_at", "username", "granted_at"),
)

# The database's own guard against a slot held twice; its own triggers keep it after `leases.slots` and `leases.state`.
lease_slots = Table(
    "lease_slots",
    metadata,
    Column("lease", Words, ForeignKey("leases.id"), primary_key=True),
    Column("slot", Words, primary_key=True),
    Column("open", Boolean, nullable=False),
    Index("one_open_lease_per_slot", "slot", unique=True, sqlite_where=OPEN_SLOT, postgresql_where=OPEN_SLOT),
)

tickets = Table(
    "tickets",
    metadata,
    Column("id", Words, primary_key=True),
    Column("version", BigInteger, nullable=False, index=True),
    Column("username", Words, nullable=False),
    Column("server", Words, nullable=False),
    Column("profile", Words, nullable=False),
    Column("count", Integer, nullable=False),
    Column("hours", Double),
    Column("models", Names, nullable=False),
    Column("kinds", Kinds(SlotKind), nullable=False),
    Column("memory", BigInteger, nullable=False),
    Column("course", Words, nullable=False),
    Column("groups", Names, nullable=False),
    Column("at_end", Choice(AtEnd), nullable=False),
    Column("options", Words, nullable=False),
    Column("ends_at", UtcMs),
    Column("state", Choice(TicketState), nullable=False),
    Column("arrived_at", UtcMs, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("moved_up", Integer, nullable=False),
    Column("starts_itself", Boolean, nullable=False),
    Column("lease", Words, nullable=False),
    Index(
        "one_live_ticket_per_server",
        "username",
        "server",
        unique=True,
        sqlite_where=LIVE_TICKET,
        postgresql_where=LIVE_TICKET,
    ),
)

reservations = Table(
    "reservations",
    metadata,
    Column("id", Words, primary_key=True),
    Column("course", Words, nullable=False),
    Column("slots", Ids, nullable=False),
    Column("starts_at", UtcMs, nullable=False),
    Column("ends_at", UtcMs, nullable=False, index=True),
    Column("cancelled", Boolean, nullable=False),
)

# No reference to `leases`: what was used stays on record when old leases are one day removed.
usage = Table(
    "usage",
    metadata,
    Column("lease", Words, primary_key=True),
    Column("slot", Words, primary_key=True),
    Column("username", Words, nullable=False),
    Column("groups", Names, nullable=False),
    Column("course", Words, nullable=False),
    Column("model", Words, nullable=False),
    Column("started_at", UtcMs, nullable=False),
    Column("ended_at", UtcMs, nullable=False),
    Column("gpu_ms", BigInteger, nullable=False),
    Column("idle_ms", BigInteger, nullable=False, server_default="0"),
    Index("usage_username_ended_at", "username", "ended_at"),
    Index("usage_within", "ended_at", "started_at", "idle_ms", "username", "model"),
)

shares = Table(
    "shares",
    metadata,
    Column("username", Words, primary_key=True),
    Column("decayed_ms", Double, nullable=False),
    Column("as_of", UtcMs, nullable=False),
    Column("half_life_ms", BigInteger, nullable=False),
)

quotas = Table(
    "quotas",
    metadata,
    Column("subject", Choice(Subject), primary_key=True),
    Column("name", Words, primary_key=True),
    Column("dimension", Words, primary_key=True),
    Column("value", QuotaValue, nullable=False),
    Column("until", UtcMs),
    Column("by", Words, nullable=False),
    Column("why", Words, nullable=False),
    Column("at", UtcMs),
)

audit = Table(
    "audit",
    metadata,
    # SQLite numbers rows by itself for this very type only.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", UtcMs, nullable=False),
    Column("actor", Words, nullable=False),
    Column("action", Words, nullable=False),
    Column("subject", Words, nullable=False, index=True),
    Column("before", Json),
    Column("after", Json),
    Column("why", Words, nullable=False),
)

loops = Table(
    "loops",
    metadata,
    Column("name", Words, primary_key=True),
    Column("owner", Words, nullable=False),
    Column("started_at", UtcMs, nullable=False),
    Column("beat_at", UtcMs),
    Column("expires_at", UtcMs, nullable=False),
    Column("ttl_ms", BigInteger, nullable=False),
    Column("succeeded_at", UtcMs),
    Column("failed_at", UtcMs),
    Column("result", Words, nullable=False),
    Column("error", Words, nullable=False),
)

homes = Table(
    "homes",
    metadata,
    Column("volume", Words, primary_key=True),
    Column("owner", Words, nullable=False, index=True),
    Column("state", Choice(HomeState), nullable=False, index=True),
    Column("state_since", UtcMs, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("bytes", BigInteger),
    Column("measured_at", UtcMs),
    Column("last_used_at", UtcMs),
    Column("in_use", Boolean, nullable=False),
    Column("start_until", UtcMs),
    Column("owner_gone_at", UtcMs),
    Column("kept", Boolean, nullable=False),
    Column("asked_at", UtcMs),
    Column("asked_by", Words, nullable=False),
    Column("why", Words, nullable=False),
    Column("delete_at", UtcMs),
    Column("phase", Choice(Phase), nullable=False),
    Column("worker", Words, nullable=False),
    Column("beat_at", UtcMs),
    Column("done_bytes", BigInteger, nullable=False),
    Column("archive", Words, nullable=False),
    Column("archive_bytes", BigInteger),
    Column("archived_at", UtcMs),
    Column("sha256", Words, nullable=False),
    Column("labels", Json, nullable=False),
    Column("error", Words, nullable=False),
)

calls = Table(
    "calls",
    metadata,
    Column("caller", Words, primary_key=True),
    Column("key", Words, primary_key=True),
    Column("call", Words, nullable=False),
    Column("fingerprint", Words, nullable=False),
    Column("scopes", Names, nullable=False),
    Column("at", UtcMs, nullable=False, index=True),
    Column("attempt", Words, nullable=False),
    Column("status", Integer),
    Column("headers", Json, nullable=False),
    Column("answer", Words, nullable=False),
)

courses = Table(
    "courses",
    metadata,
    Column("id", Words, primary_key=True),
    Column("title", Words, nullable=False),
    Column("profile", Words, nullable=False),
    Column("created_by", Words, nullable=False),
    Column("created_at", UtcMs, nullable=False),
    Column("gpus", Integer, nullable=False),
    Column("models", Names, nullable=False),
    Column("kinds", Kinds(SlotKind), nullable=False),
    Column("memory", BigInteger, nullable=False),
    Column("at_end", Choice(AtEnd), nullable=False),
    Column("materials", Words, nullable=False),
    Column("branch", Words, nullable=False),
    Column("folder", Words, nullable=False),
    Column("data", Words, nullable=False),
    Column("collect", Words, nullable=False),
    Column("homes", Choice(HomesAfter), nullable=False),
    Column("group", Words, nullable=False),
    Column("most_seats", Integer),
    Column("most_gpu_hours", Double),
    Column("most_ahead_ms", Length),
    Column("archived_at", UtcMs),
    Column("version", BigInteger, nullable=False),
)

members = Table(
    "members",
    metadata,
    Column("course", Words, primary_key=True),
    Column("username", Words, primary_key=True, index=True),
    Column("role", Choice(Role), nullable=False),
    Column("added_at", UtcMs, nullable=False),
    Column("added_by", Words, nullable=False),
    Column("via", Words, nullable=False),
    Column("agreed_at", UtcMs),
)

seat_shares = Table(
    "seat_shares",
    metadata,
    Column("course", Words, primary_key=True),
    Column("owner", Words, primary_key=True),
    Column("username", Words, primary_key=True),
    Column("given_at", UtcMs, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Words, primary_key=True),
    Column("course", Words, nullable=False, index=True),
    Column("starts_at", UtcMs, nullable=False),
    Column("ends_at", UtcMs, nullable=False, index=True),
    Column("seats", Integer, nullable=False),
    Column("created_by", Words, nullable=False),
    Column("created_at", UtcMs, nullable=False),
    Column("title", Words, nullable=False),
    Column("lead_ms", Length, nullable=False),
    Column("grace_ms", Length, nullable=False),
    Column("gpus", Integer, nullable=False),
    Column("reservation", Words, nullable=False),
    Column("reserved_at", UtcMs),
    Column("series", Words, nullable=False, index=True),
    Column("late", Choice(Late), nullable=False),
    Column("exam", Boolean, nullable=False),
    Column("terminals", Boolean, nullable=False),
    Column("collect_at", UtcMs),
    Column("warmed_at", UtcMs),
    Column("cleared_at", UtcMs),
    Column("cancelled_at", UtcMs),
    Column("version", BigInteger, nullable=False),
)

seats = Table(
    "seats",
    metadata,
    Column("session", Words, primary_key=True),
    Column("username", Words, primary_key=True),
    Column("asked_at", UtcMs),
    Column("attempts", Integer, nullable=False),
    Column("ready_at", UtcMs),
    Column("entered_at", UtcMs),
    Column("hand_at", UtcMs),
    Column("given_back_at", UtcMs),
    Column("ended_at", UtcMs),
    Column("problem", Words, nullable=False),
    Column("guest", Boolean, nullable=False),
    Column("active_at", UtcMs),
    Column("until", UtcMs),
    Column("memory", BigInteger, nullable=False),
    Column("wish", Choice(Wish), nullable=False),
    Column("wished_by", Words, nullable=False),
    Column("heard_at", UtcMs),
)

links = Table(
    "links",
    metadata,
    Column("token", Words, primary_key=True),
    Column("course", Words, nullable=False, index=True),
    Column("role", Choice(Role), nullable=False),
    Column("created_by", Words, nullable=False),
    Column("created_at", UtcMs, nullable=False),
    Column("expires_at", UtcMs, nullable=False),
    Column("cap", Integer),
    Column("used", Integer, nullable=False),
    Column("revoked_at", UtcMs),
)

feeds = Table(
    "feeds",
    metadata,
    Column("username", Words, primary_key=True),
    Column("id", Words, nullable=False, unique=True),
    Column("made_at", UtcMs, nullable=False),
)

announcements = Table(
    "announcements",
    metadata,
    Column("id", Words, primary_key=True),
    Column("session", Words, nullable=False, index=True),
    Column("kind", Choice(Kind), nullable=False),
    Column("text", Words, nullable=False),
    Column("sent_by", Words, nullable=False),
    Column("sent_at", UtcMs, nullable=False),
    Column("username", Words, nullable=False),
)

pushes = Table(
    "pushes",
    metadata,
    Column("id", Words, primary_key=True),
    Column("course", Words, nullable=False, index=True),
    Column("session", Words, nullable=False),
    Column("path", Words, nullable=False),
    Column("sha256", Words, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("pushed_by", Words, nullable=False),
    Column("pushed_at", UtcMs, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("push", Words, primary_key=True),
    Column("username", Words, primary_key=True),
    Column("at", UtcMs, nullable=False),
    Column("outcome", Choice(Outcome), nullable=False),
    Column("path", Words, nullable=False),
    Column("problem", Words, nullable=False),
)

collections = Table(
    "collections",
    metadata,
    Column("id", Words, primary_key=True),
    Column("session", Words, nullable=False, index=True),
    Column("username", Words, nullable=False),
    Column("folder", Words, nullable=False),
    Column("taken_at", UtcMs, nullable=False),
    Column("archive", Words, nullable=False),
    Column("files", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Words, nullable=False),
    Column("problem", Words, nullable=False),
)
