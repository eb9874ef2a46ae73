"""Seats in a whole hub: certain in a session, refused outside of it, and in an exam alone with the hub."""

import html
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import docker
import pytest
import requests

from spawner.operations import courses, sessions
from spawner.operations.desk import utc_now
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course, Role, Session
from spawner.policy.names import exam_network_name, exam_volume_name

from ..support.berth import Berth, containers_of, deployment, eventually
from ..support.ledger_of import lease_of, ledger_of, loops, open_leases

pytestmark = [pytest.mark.hub, pytest.mark.docker, pytest.mark.image]

PROFILES = [
    {"slug": "cpu", "name": "CPU", "cpu": 1, "memory": "1 GiB", "gpus": 0},
    {"slug": "gpu", "name": "GPU", "cpu": 1, "memory": "1 GiB", "gpus": 1},
    {"slug": "class", "name": "Class", "cpu": 1, "memory": "1 GiB", "gpus": 1, "groups": ["nobody"]},
]
TWO_HOURS = timedelta(hours=2)


@pytest.fixture(scope="module")
def berth(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """A hub with one simulated GPU; ann is ines' student in "ml", in "exam" and in "later"."""
    variables = {
        "BERTH_GPUS": "sim:1",
        "BERTH_LEASES": json.dumps({"wait_seconds": 2}),
        "BERTH_PROFILES": json.dumps(PROFILES),
        "BERTH_LIMITS": json.dumps({"users": {"ann": {"gpus": 0}}}),
    }
    with deployment(tmp_path_factory.mktemp("seats"), **variables) as berth, berth.hub():
        eventually(lambda: {"inventory", "reconcile"} <= set(loops(berth)))
        for user in ("ann", "eve", "dan"):
            berth.add_user(user)
        for name, gpus in (("ml", 1), ("exam", 0), ("later", 0)):
            with ledger_of(berth) as desk:
                courses.create(desk, Course(name, f"Course {name}", "class", "", utc_now(), gpus=gpus), "ines")
                courses.enrol(desk, name, ["ann"], Role.STUDENT, "ines")
        yield berth


def meet(berth: Berth, course: str, *, exam: bool = False, after: timedelta = timedelta(0)) -> Session:
    with ledger_of(berth) as desk:
        begins = utc_now().replace(microsecond=0) - timedelta(minutes=1) + after
        answer = sessions.book(desk, Plan(course, [(begins, begins + TWO_HOURS)], 1, exam=exam), "ines")
        assert isinstance(answer, Planned), answer
        return answer.sessions[0]


def take_seat(berth: Berth, user: str, course: str) -> None:
    """Start a seat with nothing said; the janitor may have been faster."""
    answer = berth.start_server(user, {}, course)
    assert answer.ok or "already" in answer.text or "pending" in answer.text, answer.text
    eventually(lambda: berth.ready(user, course))


def test_a_seat_is_certain_and_no_other_server_is_one(berth: Berth, engine: docker.DockerClient) -> None:
    session = meet(berth, "ml")
    # Somebody else wants the only GPU, and asks first.
    refused = berth.start_server("dan", {"profile": "gpu"})
    assert (refused.status_code, refused.reason) == (409, "queued")
    take_seat(berth, "ann", "ml")
    lease = lease_of(berth, "ann")
    assert lease is not None
    assert (lease.course, lease.profile, lease.ends_at) == ("ml", "class", session.ends_at)
    [container] = containers_of(engine, berth, "ann")
    assert "BERTH_COURSE=ml" in container.attrs["Config"]["Env"]
    # The same name is no seat for who is not in the course.
    berth.start_server("eve", {}, "ml").raise_for_status()
    eventually(lambda: berth.ready("eve", "ml"))
    [own] = containers_of(engine, berth, "eve")
    assert not [entry for entry in own.attrs["Config"]["Env"] if entry.startswith("BERTH_COURSE=")]
    assert [lease.user for lease in open_leases(berth)] == ["ann"]


def test_outside_of_a_session_there_is_no_seat(berth: Berth, engine: docker.DockerClient) -> None:
    session = meet(berth, "later", after=timedelta(days=1))
    refused = berth.start_server("ann", {"profile": "cpu"}, "later")
    assert (refused.status_code, refused.reason) == (403, "no_session")
    assert f"The next begins at {session.starts_at:%Y-%m-%d %H:%M} UTC." in refused.json()["message"]
    assert not [one for one in containers_of(engine, berth, "ann") if one.labels["berth.server"] == "later"]
    page = sign_in(berth, "ann").get(f"{berth.url}/hub/spawn/ann/later", timeout=30)
    assert "Course later does not meet now." in page.text
    assert 'type="submit"' not in page.text


def test_the_page_of_a_seat_has_one_button(berth: Berth, engine: docker.DockerClient) -> None:
    with ledger_of(berth) as desk:
        courses.enrol(desk, "later", ["ivo"], Role.ASSISTANT, "ines")
    session = meet(berth, "later")
    ivo = sign_in(berth, "ivo")  # whose seat nobody else starts
    page = ivo.get(f"{berth.url}/hub/spawn/ivo/later", timeout=30)
    assert "Take your seat" in page.text
    assert f"{session.ends_at:%H:%M} UTC" in page.text
    assert 'name="profile"' not in page.text
    [tag] = re.findall(r'<form[^>]*id="spawn_form"[^>]*>', page.text)
    [action] = re.findall(r'action="([^"]+)"', tag)
    # As a browser sends a form without fields.
    headers = {"Content-Type": "multipart/form-data; boundary=----seat"}
    address = berth.url + html.unescape(action)
    answer = ivo.post(address, data="------seat--\r\n", headers=headers, allow_redirects=False, timeout=60)
    assert answer.status_code == 302, answer.text
    eventually(lambda: berth.ready("ivo", "later"))
    [container] = containers_of(engine, berth, "ivo")
    assert "BERTH_COURSE_STAFF=1" in container.attrs["Config"]["Env"]


def sign_in(berth: Berth, user: str) -> requests.Session:
    browser = requests.Session()
    page = browser.get(f"{berth.url}/hub/login", timeout=30)
    token = re.search(r'name="_xsrf" value="([^"]+)"', page.text)
    assert token is not None
    fields = {"username": user, "password": berth.credentials.user_password, "_xsrf": token[1]}
    browser.post(f"{berth.url}/hub/login", data=fields, allow_redirects=False, timeout=30).raise_for_status()
    return browser


def test_an_exam_is_alone_with_the_hub(berth: Berth, engine: docker.DockerClient) -> None:
    with ledger_of(berth) as desk:
        begins = utc_now().replace(microsecond=0) - timedelta(minutes=1)
        answer = sessions.book(desk, Plan("exam", [(begins + TWO_HOURS, begins + 2 * TWO_HOURS)], 1, exam=True), "ines")
        assert isinstance(answer, Planned), answer
        # Without terminals from the start on: the janitor may start the seat at once.
        [session] = answer.sessions
        session = replace(session, starts_at=begins, ends_at=begins + TWO_HOURS, terminals=False)
        with desk.ledger.transaction() as books:
            books.sessions.update(session)
    take_seat(berth, "ann", "exam")
    [container] = [one for one in containers_of(engine, berth, "ann") if one.labels["berth.server"] == "exam"]
    hub_id = berth.state.hub_id
    assert list(container.attrs["NetworkSettings"]["Networks"]) == [exam_network_name(hub_id)]
    assert exam_volume_name(hub_id, session.id, "ann") in {mount.get("Name") for mount in container.attrs["Mounts"]}

    # Through the proxy the seat is there, its kernels are, its terminals are not.
    def ask(path: str) -> requests.Response:
        headers = {"Authorization": f"token {berth.token}"}
        return requests.get(f"{berth.url}/user/ann/exam/{path}", headers=headers, timeout=60)

    assert ask("api/kernelspecs").status_code == 200
    assert ask("api/contents").status_code == 200
    assert ask("api/terminals").status_code == 404
    # From within, the hub and nothing else.
    attempt = (
        "import socket, sys, urllib.request, os\n"
        "print(urllib.request.urlopen(os.environ['JUPYTERHUB_API_URL'], timeout=5).status)\n"
        f"for place in [('{_gateway(engine, hub_id)}', {berth.port}), ('192.0.2.1', 443), ('1.1.1.1', 443)]:\n"
        "    try:\n        socket.create_connection(place, 2); print('reached', place)\n"
        "    except OSError: print('refused')\n"
        "try:\n    socket.getaddrinfo('example.org', 443); print('resolved')\n"
        "except OSError: print('unknown')\n"
    )
    done = container.exec_run(["/opt/jupyter/bin/python", "-c", attempt])
    assert done.output.decode().split() == ["200", "refused", "refused", "refused", "unknown"], done.output.decode()


def _gateway(engine: docker.DockerClient, hub_id: str) -> str:
    network = engine.networks.get(f"berth-{hub_id}")
    return str(network.attrs["IPAM"]["Config"][0]["Gateway"])
