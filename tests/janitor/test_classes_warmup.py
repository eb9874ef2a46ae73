"""What is made ready before a class, and its seats, started in time."""

from dataclasses import replace
from typing import Any

import docker
import pytest
from docker.errors import NotFound

from spawner.janitor import classes_prepare
from spawner.janitor.classes_prepare import prepare_steps
from spawner.janitor.classes_seats import seat_steps
from spawner.janitor.classes_warmup import warmup_steps
from spawner.operations import inventory, seats, sessions
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import SeatState, seat_state
from spawner.policy.gpus import GpuState

from ..support.office import HOUR, NOW, Office
from ..support.slots import gpus
from .school import COURSE, SECOND, STUDENTS, School, book

# --- started in time --------------------------------------------------------------------------------------------------


def test_a_class_starts_by_itself(school: School) -> None:
    hub = school.hub
    school.at(-16)
    assert [text for text in school.turn() if "start" in text] == []
    school.at(-1)
    assert school.turn(warmup_steps) == ["start the seats ann/ml, bob/ml, 2 at once at the most"]
    # As one is ready the next is started, also of who was never here.
    assert set(school.states().values()) == {SeatState.READY}
    assert hub.users >= set(STUDENTS)
    assert hub.options["ann", "ml"] == {"profile": "cpu", "gpus": 0}
    assert school.post.classes.starts().counts[0] == 4
    assert school.turn(warmup_steps) == []


def test_no_more_than_some_at_once(school: School) -> None:
    hub = school.hub
    hub.users |= set(STUDENTS)
    hub.starts = {user: ["slow"] for user in STUDENTS}
    school.at(-1)
    school.turn(warmup_steps, seat_steps)
    assert hub.most_at_once == 2
    assert school.turn(warmup_steps) == []
    hub.servers["ann", "ml"].ready, hub.servers["ann", "ml"].pending = True, None
    assert "note that the seat ann/ml is ready" in school.turn(seat_steps)
    school.turn(warmup_steps)
    assert set(hub.servers) == {("ann", "ml"), ("bob", "ml"), ("cyd", "ml")}


def test_others_go_first(school: School) -> None:
    hub = school.hub
    hub.users |= {*STUDENTS, "eve", "fay"}
    hub.starts = {user: ["slow"] for user in STUDENTS}
    school.born_again(starts_at_once=4)
    hub.run("eve", "", ready=False)
    hub.run("fay", "lab", ready=False)
    hub.run("fay", "", ready=True)
    school.at(-0.5)
    school.turn(warmup_steps)
    assert set(hub.servers) - {("eve", ""), ("fay", "lab"), ("fay", "")} == {("ann", "ml"), ("bob", "ml")}


@pytest.mark.parametrize("status", ["429", "503", "500"])
def test_a_busy_hub_is_asked_again_and_nothing_has_failed(school: School, status: str) -> None:
    hub = school.hub
    hub.users |= set(STUDENTS)
    hub.starts = {"ann": [status] * 5}
    school.at(-1)
    school.turn(warmup_steps)
    assert school.seat("ann").problem == ""
    for _ in range(5):
        school.turn(warmup_steps)
    assert set(school.states().values()) == {SeatState.READY}
    assert school.seat("ann").attempts == 1
    assert school.post.classes.failures("busy") == 5


@pytest.mark.parametrize("how", ["fail", "late"])
def test_a_start_that_fails_is_tried_again_and_then_told(school: School, how: str) -> None:
    hub = school.hub
    hub.users |= set(STUDENTS)
    hub.starts = {"ann": [f"{how}: no space left"] * 9}
    school.at(-1)
    for _ in range(20):
        school.office.wait(10 * SECOND)
        school.turn(warmup_steps, seat_steps)
    assert school.states() == {"ann": SeatState.STUCK, "bob": "ready", "cyd": "ready", "dan": "ready"}
    assert school.seat("ann").problem == "Its server did not start: no space left"
    assert school.seat("ann").attempts == 3
    assert len(hub.starts["ann"]) == 6
    # Who comes starts it by hand, and all is well.
    hub.run("ann", "ml")
    school.turn(seat_steps)
    assert (school.states()["ann"], school.seat("ann").problem) == (SeatState.READY, "")


def test_two_sessions_of_a_course_one_after_the_other(school: School) -> None:
    answer = sessions.book(school.office.desk, Plan("ml", [(NOW + 4 * HOUR, NOW + 5 * HOUR)], 4), "ines")
    assert isinstance(answer, Planned)
    school.come()
    school.at(119.8)
    school.settle()  # the next one's seats are the same servers, which are the first one's now
    assert all(seat.asked_at is None for seat in seats.board(school.office.desk, answer.sessions[0].id)[1])
    school.at(120)
    school.settle()
    assert set(school.states().values()) == {SeatState.ENDED}
    _, board = seats.board(school.office.desk, answer.sessions[0].id)
    assert {seat_state(seat, school.office.clock.now) for seat in board} == {SeatState.READY}
    assert all(school.hub.count(f"DELETE /hub/api/users/{user}/servers/ml") == 1 for user in STUDENTS)


# --- made ready before ------------------------------------------------------------------------------------------------


@pytest.mark.docker
def test_images_are_pulled_before_they_are_needed(school: School, caplog: pytest.LogCaptureFixture) -> None:
    image = "127.0.0.1:9/berth-test/nowhere:1"
    client = docker.APIClient(version="auto", timeout=30)
    try:
        post = replace(school.post, engine=client)
        school.post = replace(post, settings=post.settings.model_copy(update={"image": image}))
        assert [step.text for step in prepare_steps(school.post)] == [f"pull {image}, which a class needs soon"]
        assert not any(step.carry_out() for step in prepare_steps(school.post))
        assert "could not be pulled" in caplog.text
        assert school.post.classes.failures("image") == 1
        school.at(200)
        assert prepare_steps(school.post) == []
    finally:
        client.close()


class Engine:
    """As much of an engine as the warming of a cache looks at."""

    warming = False

    def inspect_image(self, _: str) -> dict[str, Any]:
        return {}

    def inspect_container(self, name: str) -> dict[str, Any]:
        if not self.warming:
            raise NotFound(f"no such container: {name}")
        return {"Id": "c0ffee", "Name": f"/{name}", "State": {"Status": "running"}}


@pytest.fixture
def warming(school: School, monkeypatch: pytest.MonkeyPatch) -> School:
    """Two GPUs, of which ann has one for a day, and a class that has the other from two on."""
    office = school.office
    made, slots = gpus(2, model="A100")
    office.fit(([replace(one, simulated=False) for one in made], [replace(one, simulated=False) for one in slots]))
    office.running("ann", hours=12)
    book(office, replace(COURSE, id="gp", gpus=1), 1)
    school.post = replace(school.post, engine=Engine())  # type: ignore[arg-type]
    monkeypatch.setattr(classes_prepare, "access_for", lambda *_: None)
    monkeypatch.setattr(classes_prepare, "warm_cache", lambda *_: {"ok": True})
    return school


def gpu_states(office: Office) -> list[tuple[str, str]]:
    return [(gpu.state, gpu.state_by) for gpu, _ in inventory.board(office.desk).gpus]


def leases_and_reservations(office: Office) -> tuple[Any, ...]:
    tables = office.tables()
    return tables["leases"], tables["lease_slots"], tables["reservations"]


def test_a_cache_is_warmed_at_nobodys_cost(warming: School, monkeypatch: pytest.MonkeyPatch) -> None:
    office = warming.office
    before, seen = leases_and_reservations(office), []

    def warm(*_: object) -> dict[str, Any]:
        seen.append((gpu_states(office), leases_and_reservations(office)))
        return {"ok": True}

    monkeypatch.setattr(classes_prepare, "warm_cache", warm)
    assert warming.turn(prepare_steps) == ["warm the cache of CUDA kernels of A100 on gpu1, for the class gp"]
    assert seen == [([("in_service", ""), ("draining", "janitor")], before)]
    assert gpu_states(office) == [("in_service", ""), ("in_service", "janitor")]
    assert leases_and_reservations(office) == before
    assert warming.turn(prepare_steps) == []


def test_a_gpu_whose_janitor_was_killed_is_given_back(warming: School, monkeypatch: pytest.MonkeyPatch) -> None:
    office = warming.office
    with monkeypatch.context() as patch:
        patch.setattr(inventory, "give_back", lambda *_: False)  # it does not live to do so
        patch.setattr(classes_prepare, "warm_cache", killed)
        with pytest.raises(KeyboardInterrupt):
            warming.turn(prepare_steps)
    assert gpu_states(office)[1] == ("draining", "janitor")
    warming.post.engine.warming = True  # type: ignore[attr-defined]
    assert warming.turn(prepare_steps) == []  # what it began goes on
    warming.post.engine.warming = False  # type: ignore[attr-defined]
    assert warming.turn(prepare_steps) == ["put gpu1 back in service, on which a cache was being warmed"]
    assert gpu_states(office)[1] == ("in_service", "janitor")
    assert warming.turn(prepare_steps) == ["warm the cache of CUDA kernels of A100 on gpu1, for the class gp"]


def killed(*_: object) -> dict[str, Any]:
    raise KeyboardInterrupt


def test_what_admins_say_while_a_cache_is_warmed_stands(warming: School, monkeypatch: pytest.MonkeyPatch) -> None:
    office = warming.office

    def drained(*_: object) -> dict[str, Any]:
        inventory.set_state(office.desk, "gpu1", GpuState.DRAINING, "olga", "new fans")
        return {"ok": True}

    monkeypatch.setattr(classes_prepare, "warm_cache", drained)
    warming.turn(prepare_steps)
    assert gpu_states(office)[1] == ("draining", "olga")
    assert warming.turn(prepare_steps) == []
