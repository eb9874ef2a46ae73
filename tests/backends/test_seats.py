"""Seats in real containers: what they get of their course, whatever their users ask for, and what an exam hides."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import docker
import pytest
from jupyterhub.spawner import SpawnException

from spawner.backends import desks
from spawner.backends.seats import _GROUPS
from spawner.engine.containers import in_exam
from spawner.engine.volumes import exam_volumes, home_volumes
from spawner.ledger import Ledger
from spawner.operations import courses, inventory, leases, repairs
from spawner.operations.desk import Desk
from spawner.policy.classes import Course, Late, Role, Seat, Session
from spawner.policy.gpus import LOCAL_NODE
from spawner.policy.leases import Reservation
from spawner.policy.model import AtEnd
from spawner.policy.names import exam_network_name
from spawner.settings import LeaseSettings, LimitSettings

from ..support.berth import environment_of
from ..support.slots import gpus
from ..support.tiny_image import run_inside
from .conftest import MakeSpawner

pytestmark = pytest.mark.docker

SMALL = {"cpu": 0.5, "memory": "64 MiB", "shm": "2 MiB", "processes": 50, "open_files": 256}
PROFILES = [
    {"slug": "own", "name": "Own", **SMALL},
    {"slug": "class", "name": "Class", **SMALL, "gpus": 1, "groups": ["nobody"]},
]
LIMITS = {"default": {"gpus": 0, "memory": "64 MiB"}}  # less than a seat takes, and no GPU at all
HOUR = timedelta(hours=1)


@dataclass
class Class:
    """A course of one student, ann, and ines who teaches it; a session of two hours began an hour ago."""

    url: str
    desk: Desk
    directory: Path
    make_spawner: MakeSpawner
    session: Session
    data: Path

    def seat(self, user: str = "ann", server: str = "ml", **traits: Any) -> Any:
        values: dict[str, Any] = {
            "profiles": PROFILES,
            "limits": LIMITS,
            "ledger_url": self.url,
            "leases": {"wait_seconds": 1},
            "data_dir": str(self.directory),
            "data_sets": {"irises": self.data},
            "shared_dir": self.data,
            **traits,
        }
        return self.make_spawner(user, server, **values)

    def change(self, **changes: Any) -> None:
        self.session = replace(self.session, **changes)
        with self.desk.ledger.transaction() as books:
            books.sessions.update(self.session)

    def know(self, seat: Seat) -> None:
        with self.desk.ledger.transaction() as books:
            books.sessions.put_seats([seat])


@pytest.fixture
def lesson(tmp_path: Path, make_spawner: MakeSpawner) -> Iterator[Class]:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    ledger = Ledger(url)
    ledger.upgrade()
    desk = Desk(ledger, LimitSettings().rules(), LeaseSettings().rules())
    inventory.sync(desk, LOCAL_NODE, *gpus(1))
    now = datetime.now(UTC).replace(microsecond=0)
    course = Course("ml", "Machine learning", "class", "", now, gpus=1, folder="lessons", branch="main", data="irises")
    courses.create(desk, course, "ines")
    courses.enrol(desk, "ml", ["ann"], Role.STUDENT, "ines")
    session = Session("s1", "ml", now - HOUR, now + HOUR, 1, "ines", now, reservation="r1")
    data = tmp_path / "irises"
    data.mkdir()
    (data / "iris.csv").write_text("5.1\n")
    with ledger.transaction() as books:
        [slot] = books.gpus.slots()
        books.sessions.insert([session])
        books.reservations.insert(Reservation("r1", "ml", (slot.id,), session.starts_at, session.ends_at))
    yield Class(url, desk, tmp_path / "state", make_spawner, session, data)
    ledger.close()
    for key in [key for key in desks._DESKS if key[0] == url]:
        desks._DESKS.pop(key).ledger.close()


def inside(client: docker.APIClient, spawner: Any, *command: str) -> str:
    return run_inside(client, spawner.object_id, *command)[1]


def environment(client: docker.APIClient, spawner: Any) -> dict[str, str]:
    answer = client.inspect_container(spawner.object_id)
    return environment_of(answer)


async def refused(spawner: Any) -> SpawnException:
    with pytest.raises(SpawnException) as raised:
        await spawner.start()
    return raised.value


async def test_a_seat_is_the_courses_whatever_its_user_asks_for(client: docker.APIClient, lesson: Class) -> None:
    spawner = lesson.seat()
    spawner.user_options = {"profile": "own", "gpus": 5, "hours": 99, "image": "debian", "clean": True}
    await spawner.start()
    [lease] = repairs.open_leases(lesson.desk)
    assert (lease.user, lease.server, lease.course, lease.profile) == ("ann", "ml", "ml", "class")
    assert lease.ends_at == lesson.session.ends_at
    told = environment(client, spawner)
    assert {name: told.get(name) for name in told if name.startswith("BERTH_") and "SIM" not in name} == {
        "BERTH_COURSE": "ml",
        "BERTH_COURSE_FOLDER": "lessons",
        "BERTH_GPU_COUNT": "1",
    }
    assert told["PYTHONUSERBASE"]  # a clean start, the one wish that counts
    mounted = {one["Destination"]: one for one in client.inspect_container(spawner.object_id)["Mounts"]}
    course, state = "/opt/berth/course", lesson.directory / "courses" / "ml"
    assert {target: mount.get("Source") for target, mount in mounted.items() if target != "/home/jovyan"} == {
        f"{course}/materials.git": str(state / "materials.git"),
        f"{course}/pushes": str(state / "pushes"),
        "/srv/data/irises": str(lesson.data),
        "/srv/shared": str(lesson.data),
    }
    assert not any(mount["RW"] for target, mount in mounted.items() if target != "/home/jovyan")
    # What is pushed while it runs is there at once; and it is the server's to read only.
    (state / "pushes" / "f00d").write_text("pushed\n")
    assert inside(client, spawner, "cat", f"{course}/pushes/f00d", "/srv/data/irises/iris.csv") == "pushed\n5.1\n"
    for place in (f"{course}/pushes/mine", f"{course}/materials.git/mine", "/srv/data/irises/mine"):
        assert "Read-only" in inside(client, spawner, "touch", place)
    await spawner.stop()
    assert repairs.open_leases(lesson.desk) == []


async def test_staff_see_what_was_collected_and_take_no_students_gpu(client: docker.APIClient, lesson: Class) -> None:
    told = await refused(lesson.seat("ines"))
    assert told.reason == "over_limit", "its one seat is reserved for ann"
    with lesson.desk.ledger.transaction() as books:
        books.courses.update(replace(courses.find_in(books, "ml"), gpus=0))
    spawner = lesson.seat("ines")
    await spawner.start()
    assert environment(client, spawner)["BERTH_COURSE_STAFF"] == "1"
    mounts = {one["Destination"]: one["RW"] for one in client.inspect_container(spawner.object_id)["Mounts"]}
    assert mounts["/opt/berth/course/collected"] is False


async def test_more_time_and_memory_for_one_seat(client: docker.APIClient, lesson: Class) -> None:
    later = lesson.session.ends_at + HOUR / 2
    lesson.know(Seat("s1", "ann", until=later, memory=96 << 20))
    spawner = lesson.seat()
    await spawner.start()
    [lease] = repairs.open_leases(lesson.desk)
    assert lease.ends_at == later
    host = client.inspect_container(spawner.object_id)["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["ShmSize"]) == (96 << 20, 96 << 20, 2 << 20)


async def test_a_class_on_cpus_leases_nothing(client: docker.APIClient, lesson: Class) -> None:
    with lesson.desk.ledger.transaction() as books:
        books.courses.update(replace(courses.find_in(books, "ml"), gpus=0, data="gone"))
    spawner = lesson.seat()
    await spawner.start()
    assert repairs.open_leases(lesson.desk) == []
    assert environment(client, spawner)["BERTH_COURSE"] == "ml"
    steps = [str(step["message"]) async for step in spawner.progress()]
    assert "The data set gone is not there; ask an admin." in steps


async def test_outside_of_its_sessions_a_seat_does_not_start(client: docker.APIClient, lesson: Class) -> None:
    when = lesson.session.starts_at + timedelta(days=7)
    lesson.change(starts_at=when, ends_at=when + HOUR)
    told = await refused(lesson.seat())
    assert (told.reason, told.status_code) == ("no_session", 403)
    words = f"Machine learning does not meet now. The next begins at {when:%Y-%m-%d %H:%M} UTC."
    assert told.jupyterhub_message == words
    assert words in await lesson.seat().get_options_form()
    assert client.containers(all=True, filters={"label": f"berth.hub={lesson.seat().hub_id}"}) == []


async def test_late_students_where_the_session_takes_none(lesson: Class) -> None:
    lesson.change(late=Late.REFUSE)
    lesson.know(Seat("s1", "ann", given_back_at=lesson.session.starts_at))
    told = await refused(lesson.seat())
    assert (told.reason, told.status_code) == ("session_late", 403)


async def test_a_profile_that_is_gone(lesson: Class) -> None:
    told = await refused(lesson.seat(profiles=PROFILES[:1]))
    assert (told.reason, told.status_code) == ("unknown_profile", 403)
    assert "instructors" in str(told)


async def test_who_is_not_in_the_course_has_a_server_of_that_name(client: docker.APIClient, lesson: Class) -> None:
    spawner = lesson.seat("eve")
    await spawner.start()
    assert not [name for name in environment(client, spawner) if name.startswith("BERTH_COURSE")]
    mounts = client.inspect_container(spawner.object_id)["Mounts"]
    assert {one["Destination"] for one in mounts} == {"/home/jovyan", "/srv/shared"}
    lesson.know(Seat("s1", "gus", guest=True))
    guest = lesson.seat("gus")
    await guest.start()
    assert environment(client, guest)["BERTH_COURSE"] == "ml"


async def test_without_the_ledger_seats_do_not_start_and_own_servers_do(
    lesson: Class, make_user: Callable[..., Any], tmp_path: Path
) -> None:
    course = courses.find(lesson.desk, "ml")
    assert [group.format("ml") for group in _GROUPS] == [course.students_group, course.staff_group]
    make_user("ann", groups=(course.students_group,))
    # Their home is there, or nobody could tell whether it is in the archive.
    first = lesson.seat("ann", "")
    await first.start()
    await first.stop()
    away = f"sqlite:///{tmp_path / 'not' / 'there.sqlite'}"
    told = await refused(lesson.seat(ledger_url=away))
    assert (told.reason, told.status_code) == ("ledger_unavailable", 500)
    assert "Whether the class ml meets now cannot be told" in str(told)
    for server in ("", "lab"):
        own = lesson.seat("ann", server, ledger_url=away)
        await own.start()
        await own.stop()


# --- exams ------------------------------------------------------------------------------------------------------------


async def test_an_exam_hides_the_home_and_the_world(client: docker.APIClient, lesson: Class) -> None:
    own = lesson.seat("ann", "")
    await own.start()
    inside(client, own, "touch", "/home/jovyan/notes")
    await own.stop()

    lesson.change(exam=True, terminals=False)
    spawner = lesson.seat(network={"firewall": "managed"}, mounts=[{"source": str(lesson.data), "target": "/srv/team"}])
    address, port = await spawner.start()
    answer = client.inspect_container(spawner.object_id)
    assert list(answer["NetworkSettings"]["Networks"]) == [exam_network_name(spawner.hub_id)]
    assert environment(client, spawner)["BERTH_EXAM"] == "1"
    assert in_exam(client, spawner.hub_id, "s1") == {("ann", "ml")}
    assert in_exam(client, spawner.hub_id, "s2") == frozenset()
    assert answer["Config"]["Cmd"] == ["/bin/serve", "--ServerApp.terminals_enabled=False"]
    # The course's files and data are there; what users share with each other is not.
    assert {one["Destination"] for one in answer["Mounts"]} == {
        "/home/jovyan",
        "/opt/berth/course/materials.git",
        "/opt/berth/course/pushes",
        "/srv/data/irises",
    }
    assert inside(client, spawner, "ls", "/home/jovyan") == "from-the-image\n"
    assert "Permission denied" not in inside(client, spawner, "touch", "/home/jovyan/answer")
    # The proxy's way in, also for a hub that has just restarted.
    assert (await spawner.get_url()).startswith(f"http://{address}:{port}/")
    # No other than its own address answers: neither the host's nor the world's.
    gateway = answer["NetworkSettings"]["Networks"][exam_network_name(spawner.hub_id)]["Gateway"]
    for other in (gateway, "192.0.2.1"):
        assert run_inside(client, spawner.object_id, "timeout", "1", "wget", "-q", "-O-", f"http://{other}/")[0] != 0
    await spawner.stop()

    # A restart finds the answer again, another exam does not, and the user's own server has what it had.
    again = lesson.seat(network={"firewall": "managed"})
    await again.start()
    assert inside(client, again, "ls", "/home/jovyan") == "answer\nfrom-the-image\n"
    await again.stop()
    with lesson.desk.ledger.transaction() as books:
        books.sessions.update(replace(lesson.session, cancelled_at=lesson.session.starts_at))
        books.sessions.insert([replace(lesson.session, id="s2", terminals=True)])
    other_exam = lesson.seat(network={"firewall": "managed"})
    await other_exam.start()
    assert inside(client, other_exam, "ls", "/home/jovyan") == "from-the-image\n"
    assert client.inspect_container(other_exam.object_id)["Config"]["Cmd"] == ["/bin/serve"]
    await other_exam.stop()
    own = lesson.seat("ann", "")
    await own.start()
    assert inside(client, own, "ls", "/home/jovyan") == "from-the-image\nnotes\n"
    assert not any(home.session for home in home_volumes(client, own.hub_id))
    assert [(one.user, one.session) for one in exam_volumes(client, own.hub_id)] == [("ann", "s1"), ("ann", "s2")]


async def test_a_seat_that_goes_on_after_its_session(client: docker.APIClient, lesson: Class) -> None:
    with lesson.desk.ledger.transaction() as books:
        books.courses.update(replace(courses.find_in(books, "ml"), at_end=AtEnd.CPU))
    spawner = lesson.seat()
    await spawner.start()
    [lease] = repairs.open_leases(lesson.desk)
    lesson.know(Seat("s1", "ann", ready_at=lesson.session.starts_at))
    lesson.change(ends_at=datetime.now(UTC))
    leases.release(lesson.desk, lease.id, "expired")
    await spawner.stop()
    spawner = lesson.seat()
    spawner.user_options = {"profile": "class", "gpus": 0}  # as the janitor starts it
    await spawner.start()
    assert repairs.open_leases(lesson.desk) == []
    assert environment(client, spawner)["BERTH_COURSE"] == "ml"
