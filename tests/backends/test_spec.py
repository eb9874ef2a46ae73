from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from spawner.backends import seats
from spawner.backends.spec import clean_environment, course_environment
from spawner.operations.seats import Placed
from spawner.policy.classes import Course, Role, Seat, Session
from spawner.policy.leases import Lease, LeaseState

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize(("course", "expected"), [("ml", {"BERTH_COURSE": "ml"}), ("", {})])
def test_a_container_says_its_course(course: str, expected: dict[str, str]) -> None:
    lease = Lease("L", "ann", "", "gpu", LeaseState.PENDING, ("GPU-0",), NOW, NOW, NOW, course=course)
    assert course_environment(lease) == expected


def test_without_a_lease_there_is_no_course() -> None:
    assert course_environment(None) == {}


@pytest.mark.parametrize("role", [Role.STUDENT, Role.ASSISTANT])
async def test_the_hub_knows_whose_seat_a_server_is(spawner: Any, monkeypatch: pytest.MonkeyPatch, role: Role) -> None:
    session = Session("s1", "ml", NOW, NOW + timedelta(hours=1), 1, "ines", NOW)
    placed: Placed | None = Placed(Course("ml", "Learning", "tiny", "ines", NOW), session, role, Seat("s1", "ann"))

    async def find_seat(_: Any) -> Placed | None:
        return placed

    monkeypatch.setattr(seats, "find_seat", find_seat)
    await spawner._admitted()
    state = spawner.get_state()
    assert (state["course"], state["staff"]) == ("ml", role is Role.ASSISTANT)
    spawner.seat = None  # as whoever opens the page of its start has it
    assert spawner.get_state() == state
    spawner.clear_state()
    assert "course" not in spawner.get_state()
    spawner.load_state(state)  # by a hub that was started anew
    assert spawner.get_state() == state
    placed = None
    await spawner._admitted()
    assert "course" not in spawner.get_state()


def test_only_a_clean_start_looks_elsewhere_than_in_the_home() -> None:
    assert clean_environment(clean=False) == {}
    assert all("/home/" not in value for value in clean_environment(clean=True).values())
