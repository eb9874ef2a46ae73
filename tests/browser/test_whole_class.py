"""A whole class: Ines makes a course and a session alone, eight students join by a link, and what may happen does."""

import contextlib
import io
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import docker
import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from spawner.operations import seats
from spawner.operations.desk import utc_now
from spawner.policy.classes import Seat, SeatState, Session, seat_state

from ..support.berth import Berth, containers_of, deployment, eventually
from ..support.browser import visitor
from ..support.ledger_of import ledger_of, loops, open_leases
from .notebook import sign_in

pytestmark = [pytest.mark.browser, pytest.mark.docker, pytest.mark.image, pytest.mark.hub, pytest.mark.timeout(1200)]

STUDENTS = ("ann", "bob", "cid", "dea", "eva", "fay", "gus", "hal")
LATE = "hal"
PROFILES = [
    {"slug": "cpu", "name": "CPU", "cpu": 1, "memory": "1 GiB", "gpus": 0},
    {"slug": "gpu", "name": "GPU", "cpu": 1, "memory": "1 GiB", "gpus": 1},
]
PATIENCE = 240.0
SLOW = 60_000  # milliseconds


@pytest.fixture(scope="module")
def berth(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    variables = {
        "BERTH_GPUS": "sim:8",
        "BERTH_PROFILES": json.dumps(PROFILES),
        "BERTH_CLASSES": json.dumps({"teachers": ["lecturers"], "starts_at_once": 4}),
    }
    with deployment(tmp_path_factory.mktemp("class"), **variables) as berth, berth.hub():
        eventually(lambda: {"inventory", "seats"} <= set(loops(berth)))
        berth.add_user("ines")
        berth.api("POST", "groups/lecturers/users", {"users": ["ines"]}).raise_for_status()
        yield berth


def session_of(berth: Berth) -> Session:
    with ledger_of(berth) as desk, desk.ledger.reading() as books:
        [session] = books.sessions.of_course("dl")
        return session


def seats_of(berth: Berth) -> dict[str, Seat]:
    with ledger_of(berth) as desk:
        return {seat.user: seat for seat in seats.board(desk, session_of(berth).id)[1]}


def states_of(berth: Berth) -> dict[str, SeatState]:
    return {user: seat_state(seat, utc_now()) for user, seat in seats_of(berth).items()}


def begin(berth: Berth, at: datetime) -> None:
    """Let the session begin at another time: a test does not wait for bells."""
    session = session_of(berth)
    with ledger_of(berth) as desk, desk.ledger.transaction() as books:
        books.sessions.update(replace(session, starts_at=at))


def end(berth: Berth, at: datetime) -> None:
    """Let the session end at another time, with all that is reserved for it."""
    session = session_of(berth)
    with ledger_of(berth) as desk, desk.ledger.transaction() as books:
        books.sessions.update(replace(session, ends_at=at))
        reservation = books.reservations.get(session.reservation)
        assert reservation is not None
        books.reservations.update(replace(reservation, ends_at=at))
        for lease in books.leases.open():
            assert books.leases.update(replace(lease, ends_at=at), lease)


def in_seat(engine: docker.DockerClient, berth: Berth, user: str, command: str) -> str:
    [container] = containers_of(engine, berth, user)
    status, output = container.exec_run(["sh", "-c", command], user="jovyan", workdir="/home/jovyan")
    return output.decode() if status == 0 else ""


def status_of(berth: Berth, user: str, path: str, method: str = "GET", body: object = None) -> int:
    token = berth.api("POST", f"users/{user}/tokens", {"expires_in": 600}).json()["token"]
    return requests.request(
        method,
        f"{berth.url}{path}",
        json=body,
        headers={"Authorization": f"token {token}"},
        allow_redirects=False,
        timeout=60,
    ).status_code


def console(berth: Berth, path: str) -> str:
    return f"{berth.url}/services/console/{path}"


# --- what people do ---------------------------------------------------------------------------------------------------


def make_course(page: Page, berth: Berth) -> str:
    """Let Ines make the course and a join link; gives its address."""
    sign_in(page, berth, "ines")
    page.goto(console(berth, "courses"))
    page.get_by_role("link", name="New course").first.click()
    page.get_by_label("Title").fill("Deep learning")
    page.get_by_label("Short name").fill("dl")
    page.get_by_role("radio", name="GPU").check()
    page.get_by_label("GPUs per seat").fill("1")
    page.get_by_label("Folder to collect").fill("work")
    page.get_by_role("button", name="Make the course").click()
    expect(page.get_by_role("heading", name="Deep learning")).to_be_visible()

    page.get_by_role("link", name="Join links").first.click()
    page.get_by_label("For how many").fill(str(len(STUDENTS)))
    page.get_by_role("button", name="Make the link").click()
    return page.get_by_label("Address of the join link").input_value()


def join(page: Page, berth: Berth, user: str, link: str) -> None:
    page.goto(link)  # asks to sign in first, and leads back
    page.get_by_label("Username:").fill(user)
    page.get_by_label("Password:").fill(berth.credentials.user_password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Join").click()
    expect(page.get_by_role("heading", name="Deep learning")).to_be_visible()


def reserve(page: Page, berth: Berth) -> None:
    page.goto(console(berth, "courses/dl/sessions/new"))
    zone = ZoneInfo(page.locator("input[name=zone]").input_value())
    begins = utc_now().astimezone(zone) + timedelta(minutes=20)
    page.get_by_label("Day", exact=True).fill(f"{begins:%Y-%m-%d}")
    page.get_by_label("Begins", exact=True).fill(f"{begins:%H:%M}")
    page.get_by_label("Ends", exact=True).fill(f"{begins + timedelta(hours=2):%H:%M}")
    page.get_by_label("Title").fill("First steps")
    expect(page.get_by_label("Seats", exact=True)).to_have_value(str(len(STUDENTS)))
    page.get_by_label("Seats are started, minutes before").fill("30")
    page.get_by_label("Unused seats go back, minutes after").fill("0")
    page.get_by_label("Seats", exact=True).fill("9")
    expect(page.locator("#fit")).to_contain_text("8")  # there are no more
    page.get_by_label("Seats", exact=True).fill("8")
    page.get_by_role("button", name="Reserve it").click()
    expect(page.get_by_text("First steps").first).to_be_visible()


def enter(page: Page, berth: Berth, user: str) -> None:
    """Come into one's running server from the console's first page."""
    page.goto(console(berth, ""))
    page.get_by_role("region", name="Deep learning").get_by_role("link", name="Open").click()
    expect(page.locator(".jp-Launcher").first).to_be_visible(timeout=120_000)
    eventually(lambda: seats_of(berth)[user].entered_at is not None, 60)


def with_seat(page: Page, berth: Berth, user: str, action: str) -> None:
    page.goto(console(berth, f"courses/dl/sessions/{session_of(berth).id}/board"))
    page.get_by_role("link", name=f"{action} the server of {user}").click()
    page.get_by_role("button", name=action).click()
    expect(page.get_by_role("heading", name="First steps")).to_be_visible()


def test_a_class_from_its_first_link_to_its_report(
    berth: Berth, engine: docker.DockerClient, browser: Browser, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        ines = stack.enter_context(visitor(browser))
        link = make_course(ines, berth)
        students: dict[str, Page] = {}
        for user in STUDENTS:
            students[user] = stack.enter_context(visitor(browser))
            join(students[user], berth, user, link)
        berth.add_user("mal")
        mal = stack.enter_context(visitor(browser))
        mal.goto(link)
        mal.get_by_label("Username:").fill("mal")
        mal.get_by_label("Password:").fill(berth.credentials.user_password)
        mal.get_by_role("button", name="Sign in").click()
        expect(mal.get_by_role("heading", name="This link is used up")).to_be_visible()

        # --- before the bell --------------------------------------------------------------------------------------
        reserve(ines, berth)
        board = console(berth, f"courses/dl/sessions/{session_of(berth).id}/board")
        ines.goto(board)
        begin(berth, utc_now() + timedelta(minutes=1))
        expect(ines.get_by_text("8 of 8").first).to_be_visible(timeout=PATIENCE * 1000)
        begin(berth, utc_now() + timedelta(minutes=20))
        assert {(lease.user, lease.course) for lease in open_leases(berth)} == {(user, "dl") for user in STUDENTS}
        for user in STUDENTS:
            if user != LATE:
                enter(students[user], berth, user)
            if user not in {"ann", "bob"}:
                students[user].goto("about:blank")  # eight JupyterLabs are much for one test's machine

        # --- the bell: who has not come gives the seat back, and is served first when they come -------------------
        begin(berth, utc_now())
        eventually(lambda: states_of(berth)[LATE] is SeatState.GIVEN_BACK, PATIENCE)
        eventually(lambda: LATE not in {lease.user for lease in open_leases(berth)}, PATIENCE)
        students[LATE].goto(f"{berth.url}/hub/spawn/{LATE}/dl")
        students[LATE].get_by_role("button", name="Start").click()
        expect(students[LATE].locator(".jp-Launcher").first).to_be_visible(timeout=PATIENCE * 1000)

        # --- one is stuck, and restarted --------------------------------------------------------------------------
        [container] = containers_of(engine, berth, "cid")
        container.kill()
        eventually(lambda: states_of(berth)["cid"] is SeatState.STUCK, PATIENCE)
        expect(ines.get_by_role("article", name="cid")).to_contain_text("stuck", timeout=SLOW)
        with_seat(ines, berth, "cid", "Restart")
        eventually(lambda: berth.ready("cid", "dl"), PATIENCE)

        # --- a hand, words, a file --------------------------------------------------------------------------------
        ann = students["ann"]
        ann.locator(".berth-Class-hand").click()
        ines.goto(board)
        hands = ines.get_by_role("region", name="1 asks for help")
        expect(hands).to_contain_text("ann", timeout=SLOW)
        with ines.expect_popup() as opened:
            hands.get_by_role("button", name="Open ann's server").click()
        opened.value.get_by_role("button", name="Authorize").click()  # the hub asks before another's server knows one
        expect(opened.value.locator(".jp-Launcher").first).to_be_visible(timeout=120_000)
        ann.locator(".berth-Class-title").click()
        expect(ann.locator(".berth-ClassPanel-visitors")).to_have_text("ines is in your server.", timeout=SLOW)
        opened.value.close()
        hands.get_by_role("button", name="Lower the hand of ann").click()
        expect(ann.locator(".berth-Class-hand")).to_have_text("Raise hand", timeout=SLOW)

        ines.goto(board)
        ines.get_by_role("link", name="Message to all").click()
        ines.get_by_label("Message").fill("We go on with exercise 3.")
        ines.get_by_role("button", name="Send").click()
        expect(ann.locator(".berth-ClassPanel").get_by_text("We go on with exercise 3.")).to_be_visible(timeout=SLOW)

        assert in_seat(engine, berth, "bob", "mkdir -p work && echo mine > work/data.csv && echo ok")
        data = tmp_path / "data.csv"
        data.write_text("1,2\n")
        ines.goto(f"{board}/files")
        ines.get_by_label(re.compile("^File")).set_input_files(data)
        ines.get_by_label(re.compile("^Folder")).fill("work")
        ines.get_by_role("button", name="Send to all").click()
        eventually(lambda: in_seat(engine, berth, "ann", "cat work/data.csv") == "1,2\n", PATIENCE)
        eventually(lambda: "1,2" in in_seat(engine, berth, "bob", "cat work/*"), PATIENCE)
        assert in_seat(engine, berth, "bob", "cat work/data.csv") == "mine\n"

        # --- who may not ------------------------------------------------------------------------------------------
        api = f"/services/console/api/v1/courses/dl/sessions/{session_of(berth).id}"
        for user, refused in (("mal", {404}), ("ann", {403, 404})):
            assert status_of(berth, user, f"{api}/board") in refused
            assert status_of(berth, user, f"{api}/seats/bob/actions", "POST", {"action": "restart"}) in refused
            assert status_of(berth, user, "/user/bob/dl/api/contents") == 403
        assert status_of(berth, "ines", f"{api}/board") == 200
        assert status_of(berth, "ines", "/user/bob/dl/api/contents") == 200

        # --- collect, and the end ---------------------------------------------------------------------------------
        ines.goto(f"{board}/collect")
        ines.get_by_role("button", name="Collect now").click()
        eventually(lambda: _collected(berth) >= {"ann", "bob"}, PATIENCE)
        [archive] = sorted((berth.state.path / "courses").rglob("bob*.tar.gz"))[:1]
        with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as taken:
            assert any(name.endswith("/data.csv") for name in taken.getnames())

        end(berth, utc_now() + timedelta(seconds=5))
        eventually(lambda: not open_leases(berth), PATIENCE)
        eventually(lambda: session_of(berth).cleared_at is not None, PATIENCE)
        eventually(lambda: not containers_of(engine, berth), 30)
        ines.goto(console(berth, f"courses/dl/sessions/{session_of(berth).id}/report"))
        row: Any = ines.get_by_role("row").filter(has=ines.get_by_role("rowheader", name="bob"))
        expect(row).to_be_visible()
        expect(ines.get_by_text("8 of 8").first).to_be_visible()


def _collected(berth: Berth) -> set[str]:
    with ledger_of(berth) as desk, desk.ledger.reading() as books:
        return {one.user for one in books.handouts.collected(session_of(berth).id) if one.archive}
