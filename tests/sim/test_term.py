"""Terms of courses: what is reserved is there, whoever else wants it."""

from dataclasses import asdict, replace
from datetime import datetime, timedelta
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spawner.policy.gpus import SlotKind
from spawner.sim.lectures import LATE, Lectures, Meeting
from spawner.sim.log import Log, Outcome
from spawner.sim.people import COURSES
from spawner.sim.scenario import MONDAY
from spawner.sim.term import Lab, Term, draw
from spawner.sim.term_report import ALL, TermResult, run_term

from .scripts import AMPLE, HOUR, WHOLE, demand, week

SMALL = Term(courses=4, weeks=1, gpus=24, users=240, load=0.6)
TERMS = st.builds(
    Term,
    courses=st.integers(1, 12),
    weeks=st.integers(1, 2),
    gpus=st.sampled_from([8, 16, 24]),
    users=st.integers(10, 160),
    seed=st.integers(0, 10**6),
    load=st.sampled_from([0.3, 0.7, 1.2]),
    most_seats=st.sampled_from([8, 20, 40]),
)


def lectures(term: Term) -> tuple[Lectures, Log]:
    workload, labs = draw(term)
    made = Lectures(workload, term, labs)
    return made, made.run()


@settings(max_examples=12, deadline=None)
@given(term=TERMS)
def test_every_reservation_is_kept(term: Term) -> None:
    """Whatever is asked for beside it, each slot is free, or its own, from the lead on until the end."""
    made, log = lectures(term)
    assert len(log.reservations) == len(made.meetings)
    by_slot: dict[str, list[Meeting]] = {}
    for meeting in made.meetings:
        assert len(set(meeting.slots)) == len(meeting.slots) == len(meeting.lab.students)
        for slot in meeting.slots:
            by_slot.setdefault(slot, []).append(meeting)
    for meetings in by_slot.values():
        for one, other in combinations([meeting.session for meeting in meetings], 2):
            assert one.ends_at < other.starts_at - other.lead or other.ends_at < one.starts_at - one.lead
    for hold in log.holds:
        for slot in hold.slots:
            for meeting in by_slot.get(slot, ()):
                session = meeting.session
                end = meeting.returned.get(slot, session.ends_at)
                if hold.demand.course != session.course:
                    assert hold.until <= session.starts_at - session.lead or hold.since >= end, (hold, session)


@pytest.mark.parametrize("seed", range(3))
def test_the_figures_agree_with_what_happened(seed: int) -> None:
    result = run_term(replace(SMALL, seed=seed))
    assert result.errors == {}
    classes, hours = result.classes, result.hours
    assert classes.seats == classes.kept > 0
    assert classes.refused == 0
    assert classes.on_time + result.late.asked == classes.attended
    # A start that fails in the last batch is tried once more; nothing else is late.
    assert classes.ready >= 0.97 * classes.seats
    assert classes.slowest < 120
    assert 0 < hours.returned < hours.reserved
    assert 0 < hours.used_again <= hours.returned + 0.01
    assert hours.seated < hours.reserved + 1
    assert set(result.without) == set(result.beside)
    assert result.beside[ALL].asked == sum(waits.asked for row, waits in result.beside.items() if row != ALL)
    assert asdict(result.checks)["seats_taken"] == 0


def test_the_same_seed_gives_the_same_and_another_another() -> None:
    def figures(seed: int) -> TermResult:
        return run_term(replace(SMALL, seed=seed, courses=2))

    assert figures(7) == figures(7)
    assert figures(7) != figures(8)


def test_without_courses_nobody_pays() -> None:
    result = run_term(replace(SMALL, courses=0))
    assert result.without == result.beside
    assert (result.classes.seats, result.hours.reserved, result.shortened) == (0, 0, 0)


def test_what_does_not_fit_goes_to_another_hour_or_is_refused() -> None:
    crowded = Term(courses=90, weeks=1, gpus=8, users=20, load=0.5, seed=2)
    made, _ = lectures(crowded)
    assert made.refused > 0
    assert any(meeting.moved for meeting in made.meetings)
    result = run_term(crowded)
    assert result.errors == {}
    assert result.classes.refused == made.refused


def test_who_reserves_late_makes_others_leave_earlier() -> None:
    """All GPUs are held for the day; what the class needs is free when its reservation begins, and no more ends."""
    hours = [demand(0.1, f"user{number}", 20, hours=20.0) for number in range(8)]
    workload = week(*hours, gpus=8, days=2)
    lab = Lab("c", ("s0", "s1", "s2"), WHOLE, 1 << 34, (12 * HOUR,), 2 * HOUR, MONDAY, ahead=3 * HOUR)
    workload = replace(workload, quotas={"lab": AMPLE, "students": AMPLE})
    made = Lectures(workload, Term(courses=1, weeks=1, gpus=8), (lab,))
    log = made.run()
    (meeting,) = made.meetings
    assert (log.shortened, made.refused, len(log.reservations)) == (3, 0, 1)
    begins = meeting.session.starts_at - meeting.session.lead
    cut = {hold.slots[0]: hold.until for hold in log.holds if hold.until <= begins}
    assert set(cut) == set(meeting.slots)
    assert all(until > begins - timedelta(minutes=3) for until in cut.values())
    assert {meeting.warm[student] <= meeting.session.starts_at for student in lab.students} == {True}


def test_who_comes_late_goes_first() -> None:
    made, log = lectures(replace(SMALL, seed=0, courses=8))
    late = [each for each in log.asked if each.demand.row == LATE]
    assert late
    assert all(each.demand.first for each in late)
    assert {each.outcome for each in late} == {Outcome.SERVED}
    seats = [each for each in log.asked if each.demand.row == COURSES]
    assert not any(each.demand.first for each in seats)
    for meeting in made.meetings:
        assert set(meeting.returned) <= set(meeting.slots)
        assert len(meeting.returned) <= len(meeting.slots) - len(
            [at for at in meeting.came.values() if at < _gone(meeting)]
        )


def _gone(meeting: Meeting) -> datetime:
    return meeting.session.starts_at + meeting.session.grace


def test_a_term_is_as_it_is_described() -> None:
    term = Term()
    workload, labs = draw(term)
    assert (len(labs), len({slot.gpu for slot in workload.slots})) == (20, 64)
    assert all(10 <= len(lab.students) <= 40 for lab in labs)
    assert {next(iter(lab.kinds)) for lab in labs} == {SlotKind.SHARED, SlotKind.EXCLUSIVE}
    small, few = draw(SMALL), draw(replace(SMALL, courses=1))
    assert draw(SMALL) == small
    # The ordinary users are the same, whatever the courses are.
    assert few[0] == small[0]
    assert few[1] != small[1]
