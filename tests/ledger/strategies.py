"""Whatever the ledger may be given to keep."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from spawner.ledger import AuditEntry
from spawner.policy.gpus import Gpu, GpuState, Isolation, Slot, SlotKind
from spawner.policy.leases import (
    GpuRequest,
    Lease,
    LeaseState,
    Reservation,
    Ticket,
    TicketState,
    UsageRow,
)
from spawner.policy.model import AtEnd
from spawner.policy.quota import UNLIMITED, QuotaGrant, Subject

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
_NAME = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
NAMES = st.frozensets(_NAME, max_size=3)
# Whole milliseconds, as the ledger keeps them; any zone, since one instant is the same in all of them.
TIMES = st.builds(
    lambda ms, hours: (EPOCH + timedelta(milliseconds=ms)).astimezone(hours),
    st.integers(-(2**40), 2**46),
    st.timezones() | st.just(UTC),
)
_BIG = st.integers(0, 2**60)
_SMALL = st.integers(-(2**31), 2**31 - 1)
_IDS = st.lists(_NAME, max_size=4, unique=True).map(tuple)
_MAYBE = st.none() | TIMES
_NUMBER = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _NUMBER | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)

LEASES = st.builds(
    Lease,
    id=_NAME,
    user=TEXT,
    server=TEXT,
    profile=TEXT,
    state=st.sampled_from(LeaseState),
    slots=_IDS,
    granted_at=TIMES,
    ends_at=TIMES,
    changed_at=TIMES,
    groups=NAMES,
    course=TEXT,
    at_end=st.sampled_from(AtEnd),
    started_at=_MAYBE,
    closed_at=_MAYBE,
    offered_until=_MAYBE,
    seen_at=_MAYBE,
    container=TEXT,
    ticket=TEXT,
    busy_at=_MAYBE,
    idle_since=_MAYBE,
    idle_ms=_BIG,
    problem=TEXT,
    warning=TEXT,
    warned=st.none() | _SMALL,
    ending=TEXT,
)
TICKETS = st.builds(
    Ticket,
    id=_NAME,
    request=st.builds(
        GpuRequest,
        user=TEXT,
        server=TEXT,
        profile=TEXT,
        count=st.integers(0, 64),
        hours=st.none() | _NUMBER,
        models=NAMES,
        kinds=st.frozensets(st.sampled_from(SlotKind)),
        memory=_BIG,
        course=TEXT,
        groups=NAMES,
        at_end=st.sampled_from(AtEnd),
        options=TEXT,
    ),
    state=st.sampled_from(TicketState),
    arrived_at=TIMES,
    priority=_SMALL,
    moved_up=_SMALL,
    starts_itself=st.booleans(),
    lease=TEXT,
)
RESERVATIONS = st.builds(
    Reservation, id=_NAME, course=TEXT, slots=_IDS, starts_at=TIMES, ends_at=TIMES, cancelled=st.booleans()
)
USAGE = st.builds(
    UsageRow,
    lease=_NAME,
    user=_NAME,
    groups=NAMES,
    course=TEXT,
    slot=_NAME,
    model=TEXT,
    started_at=TIMES,
    ended_at=TIMES,
    gpu_ms=_BIG,
    idle_ms=_BIG,
)
GRANTS = st.builds(
    QuotaGrant,
    subject=st.sampled_from(Subject),
    name=TEXT,
    dimension=_NAME,
    value=st.just(UNLIMITED) | _NUMBER | st.integers(-(2**53), 2**53) | NAMES,
    until=_MAYBE,
    by=TEXT,
    why=TEXT,
    at=_MAYBE,
)
AUDIT = st.builds(
    AuditEntry, at=TIMES, actor=TEXT, action=TEXT, subject=TEXT, before=JSON, after=JSON, why=TEXT, id=st.just(0)
)
GPUS = st.builds(
    Gpu,
    uuid=_NAME,
    node=st.just("here"),
    index=st.integers(0, 64),
    model=TEXT,
    memory=_BIG,
    island=TEXT,
    compute_capability=TEXT,
    driver=TEXT,
    simulated=st.booleans(),
    healthy=st.booleans(),
    problem=TEXT,
    state=st.sampled_from(GpuState),
    state_since=_MAYBE,
    state_by=TEXT,
    state_why=TEXT,
)


def slots_of(gpu: Gpu) -> st.SearchStrategy[list[Slot]]:
    """Slots of one GPU, with ids that no other one's have."""
    slot = st.builds(
        Slot,
        id=TEXT.map(lambda name: f"{gpu.uuid}:{name}"),
        gpu=st.just(gpu.uuid),
        node=st.just(gpu.node),
        kind=st.sampled_from(SlotKind),
        model=TEXT,
        memory=_BIG,
        isolation=st.sampled_from(Isolation),
        device=TEXT,
        island=TEXT,
        simulated=st.booleans(),
    )
    return st.lists(slot, max_size=3, unique_by=lambda made: made.id)
