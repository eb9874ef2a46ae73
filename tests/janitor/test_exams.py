"""Servers that were there before an exam, next to real containers of it."""

import secrets
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import docker
import pytest

from spawner.engine.containers import SERVER_LABEL, SESSION_LABEL, USER_LABEL
from spawner.engine.view import HUB_LABEL
from spawner.engine.volumes import exam_volumes, home_volume, make_volume
from spawner.janitor.classes_rosters import roster_steps
from spawner.janitor.classes_seats import seat_steps
from spawner.janitor.classes_warmup import warmup_steps
from spawner.janitor.exam_volumes import exam_volume_steps
from spawner.policy.handouts import Collected
from spawner.policy.names import exam_volume_name, home_volume_name

from ..support.class_hub import ClassHub
from ..support.office import HOUR, Office
from ..support.tiny_image import ensure_tiny_image, remove_traces
from .school import COURSE, School, book

pytestmark = pytest.mark.docker


@pytest.fixture
def engine() -> Iterator[docker.APIClient]:
    client = docker.APIClient(version="auto")
    yield client
    client.close()


@pytest.fixture
def exam(office: Office, hub_of_classes: ClassHub, school: School, engine: docker.APIClient) -> Iterator[School]:
    session = book(office, replace(COURSE, id="ex"), exam=True)
    hub_id = secrets.token_hex(4)
    yield replace(school, session=session, post=replace(school.post, engine=engine, hub_id=hub_id))
    remove_traces(engine, hub_id)


def sit(school: School, user: str, session: str) -> None:
    """Run a container as a seat of an exam has it."""
    client, hub_id = school.post.engine, school.post.hub_id
    labels = {HUB_LABEL: hub_id, USER_LABEL: user, SERVER_LABEL: "ex", SESSION_LABEL: session}
    body = {"Image": ensure_tiny_image(client), "Labels": labels}
    client.start(client.create_container_from_config(body, f"berth-{hub_id}-{user}")["Id"])


def test_who_sits_outside_of_an_exam_is_brought_in(exam: School) -> None:
    exam.settle(roster_steps)
    for user in ("ann", "bob", "cyd"):
        exam.hub.run(user, "ex")  # long before
    sit(exam, "bob", exam.session.id)
    sit(exam, "cyd", "another")
    exam.at(-1)
    said = exam.turn(seat_steps)
    assert [text for text in said if text.startswith("stop")] == [
        "stop ann/ex, which runs outside of the exam that begins",
        "stop cyd/ex, which runs outside of the exam that begins",
    ]
    assert {user for user, server in exam.hub.servers if server == "ex"} == {"bob"}
    assert exam.seat("ann").ready_at is None
    assert exam.seat("bob").ready_at is not None
    # And then they are started like everybody.
    exam.turn(warmup_steps)
    assert exam.seat("ann").attempts == 1


def test_a_session_that_is_no_exam_asks_no_engine(school: School) -> None:
    school.settle(roster_steps)
    school.hub.run("ann", "ml")
    school.at(1)
    school.turn(seat_steps)  # whose engine is away
    assert school.seat("ann").ready_at is not None


def test_volumes_of_exams_go_when_their_work_is_safe(exam: School) -> None:
    client, hub_id, session = exam.post.engine, exam.post.hub_id, exam.session
    for user, of in (("ann", session.id), ("bob", session.id), ("cyd", session.id), ("ann", "unknown")):
        labels = {HUB_LABEL: hub_id, USER_LABEL: user, SESSION_LABEL: of}
        make_volume(client, exam_volume_name(hub_id, of, user), labels)
    home = make_volume(client, home_volume_name(hub_id, "ann"), {HUB_LABEL: hub_id, USER_LABEL: "ann"})
    whole = Collected("c1", session.id, "ann", "", session.ends_at, "s/ann.tar.gz", 3, 99, "0" * 64)
    with exam.office.ledger.transaction() as books:
        books.handouts.collect(whole)
        books.handouts.collect(replace(whole, id="c2", user="bob", taken_at=session.ends_at - HOUR))
        books.handouts.collect(replace(whole, id="c3", user="cyd", archive="", problem="The disk is full."))
    exam.office.clock.now = session.ends_at + timedelta(days=89)
    assert exam.turn(exam_volume_steps) == []
    exam.office.clock.now = session.ends_at + timedelta(days=90)
    assert exam.turn(exam_volume_steps) == [
        f"remove {exam_volume_name(hub_id, session.id, 'ann')}, ann's home in the exam {session.id}"
    ]
    left = [(one.user, one.session) for one in exam_volumes(client, hub_id)]
    assert sorted(left) == sorted([("bob", session.id), ("cyd", session.id), ("ann", "unknown")])
    assert home_volume(client, home.name) is not None
    # Of one that was called off, what was taken after that is all.
    with exam.office.ledger.transaction() as books:
        found = books.sessions.get(session.id)
        assert found is not None
        books.sessions.update(replace(found, cancelled_at=session.ends_at - HOUR))
    assert exam.turn(exam_volume_steps) == [
        f"remove {exam_volume_name(hub_id, session.id, 'bob')}, bob's home in the exam {session.id}"
    ]
    exam.born_again(exam_days=0)
    with exam.office.ledger.transaction() as books:
        books.handouts.collect(replace(whole, id="c4", user="bob"))
    assert exam.turn(exam_volume_steps) == []
