"""What the spawn page says of a seat in a class."""

from dataclasses import replace
from datetime import timedelta

import pytest

from spawner.operations.offers import Place
from spawner.operations.seats import Placed
from spawner.pages import seat_form
from spawner.policy.classes import Course, Role, Seat, Session
from spawner.policy.leases import GpuRequest, Ticket, TicketState
from spawner.policy.model import Deny, Grant, LimitRule, Limits, Profile

from ..support.office import HOUR, MINUTE, NOW

COURSE = Course("ml", "Machine <learning>", "gpu", "ines", NOW, gpus=1)
SESSION = Session("s1", "ml", NOW - 30 * MINUTE, NOW + HOUR, 8, "ines", NOW, title="Lesson 3")
PLACED = Placed(COURSE, SESSION, Role.STUDENT, Seat("s1", "ann"))
GRANT = Grant(Profile("gpu", "GPU", "", LimitRule()), Limits(2, 6 << 30, 100, 1 << 30, 100, 1))


def form(seat: Placed | Deny, decision: Grant | Deny | None = GRANT, place: Place | None = None) -> str:
    return " ".join(seat_form(seat, decision, place, now=NOW).split())


def test_a_seat_says_its_class_and_its_end_and_leaves_no_choice() -> None:
    said = form(PLACED)
    assert "Machine &lt;learning&gt;" in said
    for text in ("Lesson 3", "In session until", "13:00 UTC", "1 h from now", "2 CPUs", "1 GPU"):
        assert text in said
    assert 'data-berth-seat="open"' in said
    assert "<input" not in said
    assert "exam" not in said


def test_more_time_is_told() -> None:
    assert "14:30 UTC" in form(replace(PLACED, seat=Seat("s1", "ann", until=NOW + timedelta(hours=2, minutes=30))))


def test_before_the_bell() -> None:
    early = replace(PLACED, session=replace(SESSION, starts_at=NOW + 5 * MINUTE))
    assert "Begins at <time" in form(early)
    assert "12:05 UTC" in form(early)


def test_an_exam_says_what_it_is() -> None:
    assert "This is an exam." in form(replace(PLACED, session=replace(SESSION, exam=True)))


def test_a_seat_that_waits() -> None:
    ticket = Ticket("t", GpuRequest("ann", "ml", "gpu", 1), TicketState.WAITING, NOW)
    assert "as number 2 of 5" in form(PLACED, place=Place(ticket, 2, None, 5))


@pytest.mark.parametrize(
    ("seat", "decision"),
    [
        (Deny("no_session", "Machine learning does not meet now."), None),
        (PLACED, Deny("unknown_profile", "Machine learning does not meet now.")),
    ],
)
def test_a_refusal_stands_instead_of_the_button(seat: Placed | Deny, decision: Deny | None) -> None:
    said = form(seat, decision)
    assert 'data-berth-seat="closed"' in said
    assert "does not meet now" in said


def test_no_title_closes_the_page() -> None:
    """The page looks for the marker in the form's text."""
    nasty = replace(PLACED, course=replace(COURSE, title='data-berth-seat="closed"'))
    assert 'data-berth-seat="closed"' not in form(nasty)
