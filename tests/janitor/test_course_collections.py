"""Work collected from real volumes: of seats that run, of those that are gone, of exams."""

import csv
import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from spawner.course_directory import CourseDirectory
from spawner.engine.containers import USER_LABEL
from spawner.engine.view import HUB_LABEL
from spawner.engine.volumes import make_volume
from spawner.errors import EngineUnavailable, LedgerUnavailable
from spawner.janitor import course_collections
from spawner.janitor.course_collections import collection_steps, places_of
from spawner.operations import collections, courses, seat_life, seats, sessions
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course, Role, Session
from spawner.policy.handouts import Collected
from spawner.policy.names import exam_volume_name, home_volume_name
from spawner.state import StateDirectory

from ..support.api_hub import ApiHub
from ..support.office import HOUR, NOW
from ..support.tiny_image import run_inside
from .conftest import Watch

COURSE = Course("ml", "Machine learning", "cpu", "", NOW, collect="work")


@pytest.fixture
def there(watch: Watch, client: docker.APIClient, hub_id: str) -> Iterator[Watch]:
    """A janitor of this module's hub, on the real engine; a course of two students."""
    watch.post = replace(watch.post, engine=client, hub_id=hub_id)
    StateDirectory(watch.post.settings.state_dir).create()
    courses.create(watch.office.desk, COURSE, "ines")
    courses.enrol(watch.office.desk, "ml", ("ann", "bob"), Role.STUDENT, "ines", agreed=True)
    yield watch
    label = {"label": f"{HUB_LABEL}={hub_id}"}
    for container in client.containers(all=True, filters=label):
        client.remove_container(container["Id"], force=True)
    for volume in client.volumes(filters=label)["Volumes"] or []:
        client.remove_volume(volume["Name"], force=True)


def over(watch: Watch, *, exam: bool = False) -> Session:
    """Hold a session, and let it be over."""
    start = watch.office.clock.now + HOUR
    answer = sessions.book(watch.office.desk, Plan("ml", [(start, start + HOUR)], 2, exam=exam), "ines")
    assert isinstance(answer, Planned)
    [session] = answer.sessions
    watch.office.clock.now = session.starts_at
    seat_life.asked(watch.office.desk, session.id, "ann")
    watch.office.clock.now = session.ends_at
    return session


def volume(watch: Watch, name: str, user: str) -> Path:
    made = make_volume(watch.post.engine, name, {HUB_LABEL: watch.post.hub_id, USER_LABEL: user})
    return Path(made.path)


def home(watch: Watch, user: str) -> Path:
    path = volume(watch, home_volume_name(watch.post.hub_id, user), user)
    (path / "work").mkdir()
    (path / "work" / "answer.txt").write_text(f"by {user}")
    (path / "private").write_text("not collected")
    for each in (path, path / "work", path / "work" / "answer.txt"):
        os.chown(each, 1000, 100)
    return path


def directory(watch: Watch) -> CourseDirectory:
    return places_of(watch.post).course("ml")


def collected(watch: Watch, session: Session) -> dict[str, Collected]:
    return {one.user: one for one in collections.listing(watch.office.desk, session.id)}


def inside(watch: Watch, one: Collected) -> dict[str, bytes]:
    path = collections.archive_of(places_of(watch.post), "ml", one)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == one.sha256
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


@pytest.mark.docker
def test_at_the_end_of_a_session(there: Watch) -> None:
    home(there, "ann")
    session = over(there)
    assert sorted(step.text for step in there.look(collection_steps)) == [
        "collect work of ann's home for ml",
        "collect work of bob's home for ml",
    ]
    assert there.turn(collection_steps) == [True, True]
    assert there.look(collection_steps) == []
    found = collected(there, session)
    ann, bob = found["ann"], found["bob"]
    assert (ann.archive, ann.files, ann.size, ann.problem) == (f"{session.id}/ann-20270301T140000Z.tar.gz", 1, 6, "")
    content = inside(there, ann)
    assert content["ann/work/answer.txt"] == b"by ann"
    [row] = csv.DictReader(io.StringIO(content["ann-MANIFEST.csv"].decode()))
    assert (row["path"], row["sha256"]) == ("work/answer.txt", hashlib.sha256(b"by ann").hexdigest())
    assert len(content) == 2
    assert (bob.archive, bob.problem) == ("", "There is no home: no server has run with it, or it is in the archive.")
    at = directory(there).collected / ann.archive
    assert (at.stat().st_mode & 0o777, at.parent.stat().st_mode & 0o777) == (0o644, 0o755)
    assert [path.name for path in at.parent.iterdir()] == [at.name]


@pytest.mark.docker
@pytest.mark.parametrize("runs", [True, False])
def test_of_a_server_that_runs_or_has_ended(there: Watch, client: docker.APIClient, tiny: str, runs: bool) -> None:
    path = home(there, "ann")
    binds: dict[str, Mapping[str, str]] = {
        home_volume_name(there.post.hub_id, "ann"): {"bind": "/home/jovyan", "mode": "rw"}
    }
    container = client.create_container(
        tiny, labels={HUB_LABEL: there.post.hub_id}, host_config=client.create_host_config(binds=binds)
    )["Id"]
    client.start(container)
    assert run_inside(client, container, "sh", "-c", "echo more > /home/jovyan/work/more; ls -l /home/jovyan")[0] == 0
    if not runs:
        client.remove_container(container, force=True)
    session = over(there)
    there.turn(collection_steps)
    content = inside(there, collected(there, session)["ann"])
    assert content["ann/work/more"] == b"more\n"
    assert (path / "work" / "more").exists()


@pytest.mark.docker
def test_staff_read_it_in_their_seats(there: Watch, client: docker.APIClient, tiny: str) -> None:
    """New archives show up in a container that runs, for a user of another uid, who cannot change them."""
    at = directory(there).create()
    binds: dict[str, Mapping[str, str]] = {str(at.collected): {"bind": "/opt/berth/course/collected", "mode": "ro"}}
    container = client.create_container(
        tiny, labels={HUB_LABEL: there.post.hub_id}, host_config=client.create_host_config(binds=binds)
    )["Id"]
    client.start(container)
    home(there, "ann")
    session = over(there)
    there.turn(collection_steps)
    name = f"/opt/berth/course/collected/{collected(there, session)['ann'].archive}"
    assert run_inside(client, container, "test", "-r", name)[0] == 0
    assert run_inside(client, container, "touch", name)[0] != 0


@pytest.mark.docker
def test_an_exams_home_is_another(there: Watch) -> None:
    home(there, "ann")
    session = over(there, exam=True)
    fresh = volume(there, exam_volume_name(there.post.hub_id, session.id, "ann"), "ann")
    (fresh / "work").mkdir()
    (fresh / "work" / "solution").write_text("42")
    (fresh / "beside").write_text("43")
    there.turn(collection_steps)
    assert list(inside(there, collected(there, session)["ann"])) == ["ann/work/solution", "ann-MANIFEST.csv"]
    courses.change(there.office.desk, "ml", "ines", collect="")
    there.office.wait(HOUR)
    collections.request(there.office.desk, session.id, "ines")
    there.turn(collection_steps)
    last = collections.latest(collections.listing(there.office.desk, session.id))[0]
    assert list(inside(there, last)) == ["ann/beside", "ann/work/solution", "ann-MANIFEST.csv"]


@pytest.mark.docker
def test_what_goes_wrong_is_told(there: Watch) -> None:
    (home(there, "ann") / "work").rename(home(there, "bob") / "work" / "inside")
    there.settings(classes={"collect_bytes": 3})
    session = over(there)
    there.turn(collection_steps)
    found = collected(there, session)
    assert found["ann"].problem == "There is no folder work in the home."
    assert found["bob"].problem == "2 files left out, too large; the manifest says which."
    assert found["bob"].archive


@pytest.mark.docker
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_a_full_disk_leaves_nothing_half(there: Watch) -> None:
    (home(there, "ann") / "work" / "noise").write_bytes(os.urandom(300_000))
    session = over(there)
    at = directory(there).path
    at.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(at)], check=True)
    try:
        there.turn(collection_steps)
        assert "No space left on device. Is the disk full?" in collected(there, session)["ann"].problem
        assert [path for path in at.rglob("*") if path.is_file()] == []
    finally:
        subprocess.run(["umount", str(at)], check=True)
    assert there.look(collection_steps) == []  # once, until staff ask again


@pytest.mark.docker
def test_what_the_ledger_does_not_know_is_not_kept(there: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    home(there, "ann")
    session = over(there)
    with monkeypatch.context() as patch:

        def fail(*_: object, **__: object) -> None:
            raise LedgerUnavailable("The ledger is locked.")

        patch.setattr(collections, "note", fail)
        step = there.look(collection_steps)[0]
        with pytest.raises(LedgerUnavailable):
            step.carry_out()
    assert list((directory(there).collected / session.id).iterdir()) == []
    there.turn(collection_steps)
    assert collected(there, session)["ann"].archive


@pytest.mark.docker
def test_a_janitor_that_is_to_end(there: Watch) -> None:
    home(there, "ann")
    session = over(there)
    steps = there.look(collection_steps)
    there.post.stopping.set()
    assert [step.carry_out() for step in steps] == [False, False]
    there.post.stopping.clear()
    assert collected(there, session) == {}
    assert there.turn(collection_steps) == [True, True]


def test_a_turn_takes_a_part_and_what_fails_goes_to_the_end(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(course_collections, "_AT_A_TURN", 3)
    courses.create(watch.office.desk, COURSE, "ines")
    courses.enrol(watch.office.desk, "ml", ("ann", *"bcde"), Role.STUDENT, "ines", agreed=True)
    over(watch)

    def tried() -> str:
        steps = watch.look(collection_steps)
        for step in steps:
            with pytest.raises(EngineUnavailable):
                step.carry_out()
        return "".join(step.text.removeprefix("collect work of ")[0] for step in steps)

    assert [tried(), tried(), tried()] == ["abc", "dea", "bcd"]


def test_an_engine_that_is_away_is_asked_again(watch: Watch) -> None:
    courses.create(watch.office.desk, COURSE, "ines")
    courses.enrol(watch.office.desk, "ml", ("ann",), Role.STUDENT, "ines", agreed=True)
    session = over(watch)
    [step] = watch.look(collection_steps)
    with pytest.raises(EngineUnavailable):
        step.carry_out()
    assert collected(watch, session) == {}
    assert len(watch.look(collection_steps)) == 1


@pytest.mark.docker
def test_open_pages_save_first(there: Watch, hub: ApiHub) -> None:
    path = home(there, "ann")
    session = over(there)
    seats.note(there.office.desk, session.id, "ann", ready_at=session.starts_at)
    hub.says("user/ann/ml/berth/save", 200)
    there.turn(collection_steps)
    assert [call for call in hub.asked if "berth/save" in str(call)]
    assert path.exists()


def test_nothing_is_taken_from_whom_nobody_asked(there: Watch) -> None:
    home(there, "ann")
    courses.expel(there.office.desk, "ml", ["ann"], "ines")
    courses.enrol(there.office.desk, "ml", ["ann"], Role.STUDENT, "ines")
    session = over(there)
    there.turn(collection_steps)
    with there.office.ledger.reading() as books:
        [told] = [one for one in books.handouts.collected(session.id) if one.user == "ann"]
    assert told.archive == ""
    assert told.problem == "They have not agreed yet that work is collected from their home."
