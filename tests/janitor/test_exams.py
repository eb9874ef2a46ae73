"""Servers that were there before an exam, next to real containers of it."""

import secrets
from collections.abc import Iterator
from dataclasses import replace

import docker
import pytest

from spawner.engine.containers import SERVER_LABEL, SESSION_LABEL, USER_LABEL
from spawner.engine.view import HUB_LABEL
from spawner.janitor.classes_rosters import roster_steps
from spawner.janitor.classes_seats import seat_steps
from spawner.janitor.classes_warmup import warmup_steps

from ..support.class_hub import ClassHub
from ..support.office import Office
from ..support.tiny_image import ensure_tiny_image, remove_traces
from .test_classes import COURSE, School, book, hub_of_classes, school

__all__ = ["hub_of_classes", "school"]

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
