"""Homes after a course: put away where that is wished, and kept wherever there is a doubt."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from spawner.janitor.course_homes import course_home_steps
from spawner.janitor.hub import HubUnavailable
from spawner.operations import course_homes, courses, homes, seat_life, sessions
from spawner.operations import home_work as work
from spawner.operations.home_work import SeenVolume
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course, HomesAfter, Role
from spawner.policy.homes import Home, HomeState
from spawner.policy.names import home_volume_name, home_volume_prefix

from ..support.api_hub import ApiHub
from ..support.office import HOUR, MINUTE, NOW
from .conftest import Watch

COURSE = Course("ml", "Machine learning", "cpu", "", NOW, homes=HomesAfter.ARCHIVE)


def knows(hub: ApiHub, user: str, *used: str, unused: tuple[str, ...] = ()) -> None:
    servers = {name: {"last_activity": "2027-03-01T13:30:00Z", "started": None} for name in used}
    servers |= {name: {"last_activity": None, "started": None} for name in unused}
    hub.says(f"GET /hub/api/users/{user}\\?", 200, {"name": user, "servers": servers})


def see(watch: Watch, user: str, *, in_use: bool) -> None:
    """Let the janitor see a home, used or not at this moment."""
    desk = watch.office.desk
    seen = SeenVolume(home_volume_name(watch.post.hub_id, user), user, NOW, in_use)
    others = [SeenVolume(one.volume, one.owner, NOW, one.in_use) for one in homes.page(desk).homes if one.owner != user]
    work.take_over(desk, [seen, *others], home_volume_prefix(watch.post.hub_id), desk.clock())


@pytest.fixture
def there(watch: Watch, hub: ApiHub) -> Watch:
    """A course that has met, and was archived an hour ago; of its students, Ann and Bob were there."""
    desk = watch.office.desk
    courses.create(desk, COURSE, "ines")
    courses.enrol(desk, "ml", ("ann", "bob", "cyd"), Role.STUDENT, "ines")
    answer = sessions.book(desk, Plan("ml", [(NOW + HOUR, NOW + 2 * HOUR)], 3), "ines")
    assert isinstance(answer, Planned)
    [session] = answer.sessions
    watch.office.clock.now = session.starts_at
    seat_life.asked(desk, session.id, "ann")
    for user in ("ann", "bob", "ines"):
        see(watch, user, in_use=True)
        knows(hub, user, "ml", unused=("",))
    watch.office.clock.now = session.ends_at
    for user in ("ann", "bob", "ines"):
        see(watch, user, in_use=False)
    with watch.office.ledger.transaction() as books:
        books.sessions.update(replace(sessions.find_session(books, session.id), cleared_at=session.ends_at))
    watch.office.wait(24 * HOUR)
    assert isinstance(courses.archive(desk, "ml", "ines"), Course)
    watch.office.wait(HOUR)
    return watch


def kept(watch: Watch) -> set[str]:
    return {one.owner for one in homes.page(watch.office.desk).homes if one.state is HomeState.PRESENT}


def test_homes_of_students_are_put_away(there: Watch) -> None:
    assert sorted(step.text for step in there.look(course_home_steps)) == [
        "wish the home of ann into the archive, for the course ml is",
        "wish the home of bob into the archive, for the course ml is",
    ]
    assert there.turn(course_home_steps) == [True, True]
    assert kept(there) == {"ines"}
    assert there.look(course_home_steps) == []
    entry = there.office.audit()[-1]
    assert (entry.actor, entry.action, entry.why) == (
        "janitor",
        "home.archive",
        "the course Machine learning is archived",
    )


def change(**values: object) -> Callable[[Watch, ApiHub], None]:
    def do(watch: Watch, _hub: ApiHub) -> None:
        with watch.office.ledger.transaction() as books:
            course = books.courses.get("ml")
            assert course is not None
            books.courses.update(replace(course, **values))  # type: ignore[arg-type]

    return do


def used_since(watch: Watch, _hub: ApiHub) -> None:
    see(watch, "ann", in_use=True)
    see(watch, "ann", in_use=False)


def at_work(watch: Watch, _hub: ApiHub) -> None:
    see(watch, "ann", in_use=True)


def about_to_start(watch: Watch, _hub: ApiHub) -> None:
    assert homes.hold(watch.office.desk, home_volume_name(watch.post.hub_id, "ann"), "ann") is None


def in_another_course(watch: Watch, _hub: ApiHub) -> None:
    courses.create(watch.office.desk, replace(COURSE, id="art"), "otto")
    courses.enrol(watch.office.desk, "art", ("ann",), Role.ASSISTANT, "otto")


def a_server_of_their_own(_watch: Watch, hub: ApiHub) -> None:
    knows(hub, "ann", "ml", "")


def unknown_to_the_hub(_watch: Watch, hub: ApiHub) -> None:
    hub.says("GET /hub/api/users/ann", 404)


def decided_otherwise(watch: Watch, _hub: ApiHub) -> None:
    volume = home_volume_name(watch.post.hub_id, "ann")
    assert isinstance(homes.archive(watch.office.desk, volume, "olga", ""), Home)
    assert isinstance(homes.cancel(watch.office.desk, volume, "olga", "still needed"), Home)


def no_student_any_more(watch: Watch, _hub: ApiHub) -> None:
    courses.archive(watch.office.desk, "ml", "ines", back=True)
    courses.expel(watch.office.desk, "ml", ["ann"], "ines")
    courses.archive(watch.office.desk, "ml", "ines")
    watch.office.wait(HOUR)


@pytest.mark.parametrize(
    "doubt",
    [
        *(used_since, at_work, about_to_start, in_another_course, a_server_of_their_own, unknown_to_the_hub),
        *(decided_otherwise, no_student_any_more),
    ],
)
def test_in_doubt_a_home_is_kept(there: Watch, hub: ApiHub, doubt: Callable[[Watch, ApiHub], None]) -> None:
    doubt(there, hub)
    there.turn(course_home_steps)
    assert kept(there) == {"ann", "ines"}


@pytest.mark.parametrize(
    "values",
    [
        {"homes": HomesAfter.KEEP},
        {"archived_at": None},
        {"archived_at": NOW + 26 * HOUR + MINUTE},
        {"archived_at": NOW - timedelta(days=29)},
    ],
)
def test_courses_that_leave_homes_alone(there: Watch, hub: ApiHub, values: dict[str, object]) -> None:
    change(**values)(there, hub)
    assert there.look(course_home_steps) == []


def test_what_changes_between_look_and_deed(there: Watch, hub: ApiHub) -> None:
    steps = there.look(course_home_steps)
    about_to_start(there, hub)
    assert sum(step.carry_out() for step in steps) == 1
    there.office.wait(3 * MINUTE)  # the start has come to nothing
    [unused] = course_homes.left_behind(there.office.desk, home_volume_prefix(there.post.hub_id))
    assert unused.home.owner == "ann"
    courses.archive(there.office.desk, "ml", "ines", back=True)
    assert there.look(course_home_steps) == []


def test_a_hub_that_does_not_answer(there: Watch, hub: ApiHub) -> None:
    hub.says("GET /hub/api/users", 503)
    with pytest.raises(HubUnavailable):
        course_home_steps(there.post)
    hub.says("GET /hub/api/users", 200, "[]")
    with pytest.raises(HubUnavailable):
        course_home_steps(there.post)
    assert course_home_steps(replace(there.post, hub=None)) == []
