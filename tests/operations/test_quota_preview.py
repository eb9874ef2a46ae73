"""What a change of quotas would do is what it does."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from spawner.ledger import Ledger
from spawner.operations import ends, leases, offers, quotas, repairs
from spawner.operations.desk import Desk
from spawner.operations.leases import Granted
from spawner.operations.quota_preview import LeaseEffect, Preview, TicketEffect, preview, preview_import
from spawner.operations.quotas import Change, Edits, key_of, make_grant
from spawner.policy.leases import GpuRequest, LeaseState, TicketState
from spawner.policy.limits import why
from spawner.policy.model import Person
from spawner.policy.quota import QuotaGrant, Subject

from ..support.office import HOUR, LIMITS, NOW, Office
from ..support.slots import gpus
from .conftest import OpenOffice

ANN, BOB, CID = (
    Person("ann", frozenset({"lab"})),
    Person("bob", frozenset({"lab", "staff"})),
    Person("cid", frozenset()),
)
PEOPLE = (ANN, BOB, CID)


def grant(subject: str, name: str, dimension: str, value: object, until: datetime | None = None) -> QuotaGrant:
    return make_grant(subject, name, dimension, value, until, "olga", "a test", NOW)


def setting(*grants: QuotaGrant) -> Edits:
    return {key_of(one): one for one in grants}


def told(found: Preview) -> dict[str, dict[str, tuple[object, object]]]:
    return {
        one.person.name: {shift.dimension: (shift.before.value, shift.after.value) for shift in one.shifts}
        for one in found.people
    }


def effects(found: Preview) -> dict[str, list[LeaseEffect]]:
    return {one.lease.user: list(one.effects) for one in found.leases}


def waiting(found: Preview) -> dict[str, TicketEffect]:
    return {one.ticket.user: one.effect for one in found.tickets}


# --- whom it changes ----------------------------------------------------------------------------------------------


def test_only_those_whose_value_becomes_another_one(office: Office) -> None:
    office.give("user", "ann", "gpus", 6)
    found = preview(office.desk, setting(grant("group", "lab", "gpus", 2)), PEOPLE)
    assert told(found) == {"bob": {"gpus": (4, 2)}}
    assert [(one.before.source, one.after.source) for one in found.people[0].shifts] == [("default", "group lab")]
    assert found.changes == (Change(None, grant("group", "lab", "gpus", 2)),)
    office.give("group", "staff", "gpus", 3)
    assert told(preview(office.desk, setting(grant("group", "lab", "gpus", 2)), PEOPLE)) == {}
    assert told(preview(office.desk, setting(grant("default", "", "gpus", 1)), PEOPLE)) == {"cid": {"gpus": (4, 1)}}


def test_taking_back(office: Office) -> None:
    office.give("user", "ann", "gpus", 6)
    office.give("user", "ann", "models", ["T4"])
    key = (Subject.USER, "ann", "gpus")
    [set_now] = [one for one in quotas.all_grants(office.desk) if one.dimension == "gpus"]
    found = preview(office.desk, {key: None, (Subject.USER, "ann", "cpu"): None}, PEOPLE)
    assert found.changes == (Change(set_now, None),)
    assert told(found) == {"ann": {"gpus": (6, 4)}}  # models stay: nobody asked for them


def test_what_has_ended_changes_nobody(office: Office) -> None:
    office.give("user", "ann", "gpus", 6, NOW + HOUR)
    office.wait(2 * HOUR)
    found = preview(office.desk, {(Subject.USER, "ann", "gpus"): None}, PEOPLE)
    assert (len(found.changes), told(found)) == (1, {})


def test_nothing_is_written(office: Office) -> None:
    office.fit(gpus(1))
    office.running("ann")
    office.queued("bob")
    before = office.tables()
    preview(office.desk, setting(grant("default", "", "gpu_hours", 1)), PEOPLE)
    preview_import(office.desk, [grant("default", "", "gpus", 0)], PEOPLE)
    assert office.tables() == before


# --- leases -------------------------------------------------------------------------------------------------------


def test_a_budget_that_is_overrun_shortens(office: Office) -> None:
    office.fit(gpus(2))
    first, second = office.running("ann", hours=4), office.running("ann", hours=8, server="lab")
    office.wait(HOUR)
    found = preview(office.desk, setting(grant("user", "ann", "gpu_hours", 6)), PEOPLE)
    [touched] = found.leases
    assert (touched.lease.id, touched.effects) == (second.id, (LeaseEffect.SHORTENED,))
    assert touched.ends_at == second.ends_at - timedelta(hours=6)
    quotas.set_quota(office.desk, grant("user", "ann", "gpu_hours", 6))
    assert [(lease.id, lease.ends_at) for lease in ends.trim_all(office.desk)] == [(second.id, touched.ends_at)]
    assert office.lease(first.id).ends_at == first.ends_at


@pytest.mark.parametrize(
    ("dimension", "value", "effect"),
    [
        ("gpus", 1, LeaseEffect.TOO_MANY),
        ("lease_hours", 2, LeaseEffect.TOO_LONG),
        ("models", ["T4"], LeaseEffect.MODEL),
        ("profiles", ["cpu"], LeaseEffect.PROFILE),
    ],
)
def test_what_a_lease_has_and_would_not_get(office: Office, dimension: str, value: object, effect: LeaseEffect) -> None:
    office.fit(gpus(2))
    lease = office.running("ann", 2)
    change = setting(grant("user", "ann", dimension, value))
    found = preview(office.desk, change, PEOPLE)
    assert effects(found) == {"ann": [effect]}
    assert found.leases[0].ends_at == lease.ends_at
    quotas.set_quota(office.desk, grant("user", "ann", dimension, value))
    lower = grant("user", "ann", dimension, "none" if isinstance(value, list) else 0.5 if value == 2 else 0)
    assert effects(preview(office.desk, setting(lower), PEOPLE)) == {}  # it was so before


def test_the_groups_of_a_lease_are_those_of_its_start(office: Office) -> None:
    office.fit(gpus(2))
    office.running("ann", 2, groups=frozenset({"lab"}))
    found = preview(office.desk, setting(grant("group", "lab", "gpus", 1)), [Person("ann"), CID])
    assert (told(found), effects(found)) == ({}, {"ann": [LeaseEffect.TOO_MANY]})


# --- those who wait -----------------------------------------------------------------------------------------------


def test_who_waits(office: Office) -> None:
    office.fit(gpus(2))
    held = office.running("ann", 2)
    office.queued("bob", 2, server="a")
    office.queued("cid", hours=20)
    never = preview(
        office.desk, setting(grant("user", "bob", "gpus", 1), grant("default", "", "lease_hours", 8)), PEOPLE
    )
    assert waiting(never) == {"bob": TicketEffect.NEVER, "cid": TicketEffect.NEVER}
    assert {one.ticket.user: one.reason and one.reason.code for one in never.tickets} == {
        "bob": "over_limit",
        "cid": "over_limit",
    }
    assert waiting(preview(office.desk, setting(grant("user", "cid", "profiles", "cpu")), PEOPLE)) == {
        "cid": TicketEffect.PROFILE
    }
    quotas.set_quota(office.desk, grant("user", "bob", "gpus", 1))
    quotas.set_quota(office.desk, grant("user", "cid", "gpus", 0))
    assert waiting(preview(office.desk, setting(grant("user", "bob", "gpus", 2)), PEOPLE)) == {
        "bob": TicketEffect.WAITS
    }
    office.stop(held)
    found = preview(office.desk, setting(grant("user", "cid", "gpus", 1)), PEOPLE)
    assert waiting(found) == {"cid": TicketEffect.OFFERED}


def test_blocked_for_now(office: Office) -> None:
    office.fit(gpus(2))
    office.running("ann")
    office.running("bob")
    office.queued("ann", server="second")
    found = preview(office.desk, setting(grant("user", "ann", "gpus", 1)), PEOPLE)
    assert waiting(found) == {"ann": TicketEffect.BLOCKED}
    assert found.tickets[0].reason is not None
    assert "You hold 1 GPU already" in found.tickets[0].reason.reason


# --- it is what happens -------------------------------------------------------------------------------------------

_VALUES = {
    "gpus": st.integers(0, 3),
    "gpu_hours": st.sampled_from([0, 1, 3, 6, 20, "unlimited"]),
    "lease_hours": st.sampled_from([1, 5, 12]),
    "models": st.sampled_from(["none", "A", "A, B", "*"]),
    "priority": st.integers(0, 2),
}
_SUBJECTS = st.sampled_from(
    [("default", ""), ("group", "lab"), ("group", "staff"), ("user", "ann"), ("user", "bob"), ("user", "cid")]
)


@st.composite
def _grant(draw: st.DrawFn) -> QuotaGrant:
    subject, name = draw(_SUBJECTS)
    dimension = draw(st.sampled_from(["gpus", "gpus", "gpu_hours", "gpu_hours", "lease_hours", "models", "priority"]))
    until = draw(st.none() | st.just(NOW + 10 * HOUR))
    return grant(subject, name, dimension, draw(_VALUES[dimension]), until)


_GRANTS = st.lists(_grant(), min_size=1, max_size=5, unique_by=key_of)
_ASKS = st.lists(
    st.tuples(
        st.sampled_from(PEOPLE),
        st.integers(1, 2),
        st.sampled_from([None, 4, 12]),
        st.sampled_from([True, True, False]),
        st.integers(0, 20),
    ),
    min_size=3,
    max_size=7,
)


def crowd(office: Office, asks: Sequence[tuple[Person, int, float | None, bool, int]]) -> None:
    """Let several ask, some of whom start at once."""
    office.fit(gpus(2, model="A"), gpus(1, model="B", first=2))
    for number, (person, count, hours, starts, minutes) in enumerate(asks):
        answer = office.ask(person.name, count, hours, server=f"s{number}", groups=person.groups)
        if isinstance(answer, Granted) and starts:
            leases.activate(office.desk, answer.lease.id, f"c{number}", office.clock.now)
        office.wait(timedelta(minutes=minutes))


@settings(max_examples=120, deadline=None)
@given(
    before=_GRANTS,
    asks=_ASKS,
    edits=_GRANTS,
    back=st.lists(st.integers(0, 9), max_size=2),
    stopped=st.sets(st.integers(0, 1)),
    how=st.sampled_from(["one by one", "import", "add"]),
)
def test_what_is_told_is_what_happens(
    open_office: OpenOffice,
    before: list[QuotaGrant],
    asks: list[tuple[Person, int, float | None, bool, int]],
    edits: list[QuotaGrant],
    back: list[int],
    stopped: set[int],
    how: str,
) -> None:
    office = open_office()
    desk = office.desk
    crowd(office, asks)
    quotas.replace_all(desk, before, "olga", "before")
    active = [lease for lease in repairs.open_leases(desk) if lease.state is LeaseState.ACTIVE]
    for lease in (one for number, one in enumerate(active) if number in stopped):
        office.stop(lease)
    if how == "import":
        found = preview_import(desk, edits, PEOPLE)
    elif how == "add":
        found = preview_import(desk, edits, PEOPLE, keep_others=True)
    else:
        # Several at once, as an import is written.
        taken = [key_of(before[index % len(before)]) for index in back] if before else []
        wanted: Edits = {**dict.fromkeys(taken), **setting(*edits)}
        found = preview(desk, wanted, PEOPLE)
        edits = [one for one in quotas.all_grants(desk) if key_of(one) not in wanted] + edits
    was = {person: _why(desk, person) for person in PEOPLE}
    blocked = {serving.ticket.id for serving in offers.whole_queue(desk) if serving.blocked}
    queue = {serving.ticket.id for serving in offers.whole_queue(desk)}
    would_end = {lease.id: end for lease, end in ends.too_long(desk)}

    quotas.replace_all(desk, edits, "olga", "after", found.version, keep_others=how == "add")

    for person in PEOPLE:
        values = _why(desk, person)
        changed = {name: (was[person][name], values[name]) for name in values if was[person][name] != values[name]}
        assert told(found).get(person.name, {}) == changed
    served = {ticket for ticket in queue if office.ticket(ticket).state is TicketState.OFFERED}
    event(f"{len(served)} served, {len(found.leases)} leases touched")
    assert {one.ticket.id for one in found.tickets if one.effect is TicketEffect.OFFERED} == served
    after = {serving.ticket.id: serving.blocked for serving in offers.whole_queue(desk)}
    assert after.keys() == queue - served
    assert {one.ticket.id for one in found.tickets if one.effect is TicketEffect.WAITS} == {
        ticket for ticket, stuck in after.items() if not stuck and ticket in blocked
    }
    assert {one.ticket.id for one in found.tickets if one.effect in {TicketEffect.BLOCKED, TicketEffect.NEVER}} == {
        ticket for ticket, stuck in after.items() if stuck and ticket not in blocked
    }
    shortened = {one.lease.id: one.ends_at for one in found.leases if LeaseEffect.SHORTENED in one.effects}
    assert shortened == {lease.id: end for lease, end in ends.too_long(desk) if would_end.get(lease.id) != end}


def _why(desk: Desk, person: Person) -> dict[str, object]:
    with desk.ledger.reading() as books:
        return {name: origin.value for name, origin in why(desk.quotas.rules(books, desk.clock()), person).items()}


def test_another_process_sees_the_same(office: Office) -> None:
    other = Desk(Ledger(office.place.url), LIMITS, office.desk.rules, office.clock)
    try:
        change = setting(grant("group", "lab", "gpus", 1))
        assert preview(other, change, PEOPLE) == preview(office.desk, change, PEOPLE)
        office.give("group", "lab", "gpus", 2)
        assert preview(other, change, PEOPLE) == preview(office.desk, change, PEOPLE)
        assert replace(preview(other, change, PEOPLE), changes=()).version == quotas.all_set(office.desk).version
    finally:
        other.ledger.close()


def test_a_seat_in_a_course_is_touched_by_nobodys_quota(office: Office) -> None:
    office.fit(gpus(2))
    seat = GpuRequest("ann", "ml", "gpu", 1, course="ml", ends_at=NOW + 3 * HOUR)
    answer = leases.acquire(office.desk, seat)
    assert isinstance(answer, Granted)
    leases.activate(office.desk, answer.lease.id, "container", NOW)
    own = office.running("ann", groups=ANN.groups)
    changed = setting(
        grant("user", "ann", "gpus", 1),
        grant("user", "ann", "gpu_hours", 4.0),
        grant("user", "ann", "lease_hours", 2.0),
    )
    found = preview(office.desk, changed, PEOPLE)
    assert [one.lease.id for one in found.leases] == [own.id]
    assert LeaseEffect.TOO_MANY not in effects(found)["ann"]
