"""When a lease ends: extended, ended by somebody, shortened to a budget; and what is noted of one that does nothing."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spawner.errors import LeaseLost
from spawner.operations import ends, leases
from spawner.policy.leases import LeaseState
from spawner.policy.model import AtEnd, Deny

from ..support.office import HOUR, MINUTE, MS, NOW, Office
from ..support.slots import gpus
from .conftest import OpenOffice


def test_longer_while_nobody_waits(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.running("ann", 1, 4)
    office.wait(HOUR)
    assert leases.can_extend(office.desk, lease.id) == office.clock.now + 24 * HOUR
    longer = leases.extend(office.desk, lease.id, 2, "ann")
    assert longer == replace(lease, ends_at=lease.ends_at + 2 * HOUR)
    assert office.lease(lease.id) == longer
    most = leases.extend(office.desk, lease.id, None, "ann", "the thesis")
    assert not isinstance(most, Deny)
    assert most.ends_at == office.clock.now + 24 * HOUR
    entries = [entry for entry in office.audit() if entry.action == "lease.extend"]
    assert [(entry.actor, entry.subject) for entry in entries] == [("ann", f"lease {lease.id}")] * 2
    assert entries[0].before == {"ends_at": lease.ends_at.isoformat(), "state": "active"}
    assert entries[0].after == {"ends_at": longer.ends_at.isoformat(), "state": "active"}
    assert (entries[0].why, entries[1].why) == ("5 h left", "the thesis")


def test_what_stands_against_it(office: Office) -> None:
    office.fit(gpus(2))
    office.give("user", "ann", "gpu_hours", 6)
    first, second = office.running("ann", 1, 4), office.running("bob", 1, 4)
    office.reserve("nlp", NOW + 6 * HOUR, NOW + 8 * HOUR, *second.slots)
    before = office.tables()
    refused = {
        "invalid_option": leases.extend(office.desk, first.id, 0, "ann"),
        "over_limit": leases.extend(office.desk, second.id, 21, "bob"),
        "over_budget": leases.extend(office.desk, first.id, 3, "ann"),
        "reserved": leases.extend(office.desk, second.id, 3, "bob"),
    }
    office.queued("eve")
    refused["others_wait"] = leases.extend(office.desk, first.id, 1, "ann")
    for code, answer in refused.items():
        assert isinstance(answer, Deny), answer
        assert answer.code == code
    asked = leases.can_extend(office.desk, first.id)
    assert isinstance(asked, Deny)
    assert asked.code == "others_wait"
    after = office.tables()
    assert {name for name, rows in after.items() if rows != before[name]} == {"pool", "tickets"}
    office.wait(4 * HOUR)
    late = leases.extend(office.desk, first.id, 1, "ann")
    assert isinstance(late, Deny)
    assert late.code == "lease_over"


def test_an_admin_ends_a_lease_and_its_user_cannot_undo_it(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.running("ann", 1, 4)
    ended = leases.end(office.desk, lease.id, "olga", "the room is too hot", 10 * MINUTE)
    assert ended == replace(lease, ends_at=NOW + 10 * MINUTE, ending="ended_by_admin")
    for answer in (leases.extend(office.desk, lease.id, 1, "ann"), leases.can_extend(office.desk, lease.id)):
        assert isinstance(answer, Deny)
        assert answer.code == "lease_over"
    again = leases.extend(office.desk, lease.id, 1, "olga", "it is cool again", by_admin=True)
    assert not isinstance(again, Deny)
    assert (again.ends_at, again.ending) == (NOW + 10 * MINUTE + HOUR, "")
    # A notice never makes a lease longer.
    assert leases.end(office.desk, lease.id, "olga", "why", 9 * HOUR).ends_at == again.ends_at
    assert [entry.action for entry in office.audit()] == ["lease.end", "lease.extend", "lease.end"]


def test_a_user_gives_it_back(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.running("ann")
    ended = leases.end(office.desk, lease.id, "ann", "done", code="released")
    assert (ended.ends_at, ended.ending, ended.state) == (NOW, "released", LeaseState.ACTIVE)


@pytest.mark.parametrize("code", ["ended_by_admin", "released"])
def test_an_offer_that_is_ended_goes_to_the_next(office: Office, code: str) -> None:
    office.fit(gpus(1))
    lease = office.running("ann")
    bob, eve = office.queued("bob"), office.queued("eve")
    office.stop(lease)
    offered = office.offer_to(bob)
    assert leases.end(office.desk, offered.id, "olga", "why", code=code).state is LeaseState.CLOSED
    assert office.lease(offered.id).ending == code
    assert office.ticket(bob.id).state == "cancelled"
    assert office.offer_to(eve)


def test_what_is_over_is_neither_ended_nor_chosen_for(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.running("ann")
    assert leases.choose_at_end(office.desk, lease.id, AtEnd.STOP).at_end is AtEnd.STOP
    leases.release(office.desk, lease.id, "stopped")
    with pytest.raises(LeaseLost, match="releasing already"):
        leases.end(office.desk, lease.id, "olga", "why")
    closed = leases.close(office.desk, lease.id, None)
    with pytest.raises(LeaseLost, match="closed already"):
        leases.end(office.desk, lease.id, "olga", "why")
    with pytest.raises(LeaseLost, match="closed already"):
        leases.choose_at_end(office.desk, lease.id, AtEnd.CPU)
    assert office.lease(lease.id) == closed


# --- budgets ------------------------------------------------------------------------------------------------------


def test_a_smaller_budget_shortens_what_runs(office: Office) -> None:
    office.fit(gpus(3))
    first, second = office.running("ann", 1, 4), office.running("ann", 2, 10, server="lab")
    office.wait(HOUR)
    assert ends.too_long(office.desk) == []
    # 3 GPU-hours are used; of the 3 + 18 that are to come, 9 remain.
    office.give("user", "ann", "gpu_hours", 12)
    before = office.tables()
    expected = [(second, office.clock.now + 3 * HOUR)]
    assert ends.too_long(office.desk) == expected
    assert office.tables() == before
    [trimmed] = ends.trim_all(office.desk)
    assert trimmed == replace(second, ends_at=office.clock.now + 3 * HOUR, ending="over_budget")
    assert office.lease(second.id) == trimmed
    assert office.lease(first.id) == first
    assert ends.too_long(office.desk) == []
    assert ends.trim_all(office.desk) == []


def test_an_empty_budget_ends_what_runs_now(office: Office) -> None:
    office.fit(gpus(1))
    office.running("ann")
    office.wait(HOUR)
    office.give("default", "", "gpu_hours", 0)
    [trimmed] = ends.trim_all(office.desk)
    assert trimmed.ends_at == office.clock.now


def test_an_admins_word_stays_on_a_lease_that_is_shortened(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.running("ann")
    leases.end(office.desk, lease.id, "olga", "why", 3 * HOUR)
    office.give("user", "ann", "gpu_hours", 1)
    [trimmed] = ends.trim_all(office.desk)
    assert (trimmed.ends_at, trimmed.ending) == (NOW + HOUR, "ended_by_admin")


@settings(max_examples=25, deadline=None)
@given(
    asked=st.lists(st.tuples(st.integers(1, 2), st.integers(1, 24)), min_size=1, max_size=3),
    passed=st.integers(0, 5 * 3_600_000),
    budget=st.integers(0, 60),
)
def test_no_budget_is_outrun(open_office: OpenOffice, asked: list[tuple[int, int]], passed: int, budget: int) -> None:
    office = open_office()
    office.fit(gpus(6))
    office.give("default", "", "gpus", 6)
    for number, (count, hours) in enumerate(asked):
        office.running("ann", count, hours, server=str(number))
    office.wait(timedelta(milliseconds=passed))
    office.give("user", "ann", "gpu_hours", budget)
    ends.trim_all(office.desk)
    assert ends.too_long(office.desk) == []
    with office.ledger.reading() as books:
        found = books.leases.open()
    used = sum((office.clock.now - NOW) // MS * len(lease.slots) for lease in found)
    left = sum(max(0, (lease.ends_at - office.clock.now) // MS) * len(lease.slots) for lease in found)
    over = used + left - budget * HOUR // MS
    if any(lease.ending for lease in found):
        # Whole milliseconds are taken, of two GPUs at most.
        assert left == 0 or -2 < over <= 0
    else:
        assert left == 0 or over <= 0  # of one whose time is up anyway nothing can be taken


# --- idleness -----------------------------------------------------------------------------------------------------


def test_idle_since_and_not_any_more(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.running("ann")
    assert ends.note_idle(office.desk, lease, NOW)
    idle = office.lease(lease.id)
    assert idle == replace(lease, idle_since=NOW)
    assert not ends.note_idle(office.desk, lease, NOW + MINUTE)  # somebody has noted something else since
    office.wait(MINUTE)
    assert ends.note_idle(office.desk, idle, None)
    assert office.lease(lease.id) == replace(lease, idle_ms=60_000)


def test_idle_time_is_booked(office: Office) -> None:
    """One spell that is over, one whose end nobody saw, and one in which the server stops."""
    office.fit(gpus(2))
    lease = office.running("ann", 2)
    for spell in (NOW + MINUTE, NOW + 10 * MINUTE):
        office.clock.now = spell
        assert ends.note_idle(office.desk, office.lease(lease.id), spell)
        office.wait(3 * MINUTE)
        assert ends.note_idle(office.desk, office.lease(lease.id), None, spell + 2 * MINUTE)
    office.clock.now = NOW + 50 * MINUTE
    assert ends.note_idle(office.desk, office.lease(lease.id), office.clock.now)
    office.wait(10 * MINUTE)
    closed = office.stop(lease)
    assert closed.idle_ms == 14 * 60_000
    assert [(row.gpu_ms, row.idle_ms) for row in office.booked()] == [(3_600_000, 14 * 60_000)] * 2


def test_a_note_of_idleness_takes_nothing_back(office: Office) -> None:
    office.fit(gpus(1))
    seen = office.running("ann", 1, 4)
    leases.extend(office.desk, seen.id, 2, "ann")
    leases.choose_at_end(office.desk, seen.id, AtEnd.STOP)
    leases.report(office.desk, seen.id, busy=True, problem="it sees 0 of 1")
    changed = office.lease(seen.id)
    assert ends.note_idle(office.desk, seen, NOW)
    assert office.lease(seen.id) == replace(changed, idle_since=NOW)
    assert changed.ends_at == seen.ends_at + 2 * HOUR


def test_what_has_ended_is_not_idle(office: Office) -> None:
    office.fit(gpus(1))
    seen = office.running("ann")
    office.wait(MINUTE)
    leases.release(office.desk, seen.id, "stopped")
    assert not ends.note_idle(office.desk, seen, NOW)
    assert not ends.note_idle(office.desk, replace(seen, id="gone"), NOW)


# --- shares that are overrun --------------------------------------------------------------------------------------


def test_a_warning_and_its_end(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.running("ann")
    assert ends.note_warning(office.desk, lease.id, "Too much.")
    assert not ends.note_warning(office.desk, lease.id, "Too much.")
    leases.report(office.desk, lease.id, busy=False, problem="")  # the server's own word is another one
    assert office.lease(lease.id) == replace(lease, warning="Too much.")
    assert ends.note_warning(office.desk, lease.id, "")
    assert office.lease(lease.id) == lease
    leases.release(office.desk, lease.id, "stopped")
    assert not ends.note_warning(office.desk, lease.id, "Too much.")
    assert not ends.note_warning(office.desk, "gone", "Too much.")
