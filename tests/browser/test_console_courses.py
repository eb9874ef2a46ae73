"""A course in a real browser, at a real hub: made, filled, joined by a link by somebody who has to sign in first."""

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from ..support.berth import Berth, deployment
from ..support.browser import visitor
from .test_console_pages import WIDE
from .test_console_quotas import check

pytestmark = [pytest.mark.browser, pytest.mark.docker]


@pytest.fixture
def berth(engine: docker.DockerClient, tmp_path: Path) -> Iterator[Berth]:
    with deployment(tmp_path, BERTH_GPUS="sim:4") as berth, berth.hub():
        yield berth


def sign_in(page: Page, name: str, password: str) -> None:
    page.get_by_label("Username:").fill(name)
    page.get_by_label("Password:").fill(password)
    page.get_by_role("button", name="Sign in").click()


def test_a_course_is_made_and_joined(browser: Browser, berth: Berth) -> None:
    console, known = f"{berth.url}/services/console/", berth.credentials
    with visitor(browser, viewport=WIDE, locale="en-GB", timezone_id="Europe/Berlin") as page:
        page.goto(f"{console}courses")
        sign_in(page, known.admin_users[0], known.admin_password)
        expect(page.get_by_role("heading", name="Your first class takes five minutes")).to_be_visible()
        page.get_by_role("main").get_by_role("link", name="New course").click()

        # A form that helps, and keeps what was typed.
        page.get_by_label("Title").press_sequentially("Übungen zu ML")
        expect(page.get_by_label("Short name")).to_have_value("ubungen-zu-ml")
        page.get_by_label("GPU", exact=False).and_(page.locator("[value='gpu']")).check()
        expect(page.get_by_label("GPUs per seat")).to_have_value("1")
        expect(page.locator("#seat-hints")).to_contain_text("4 seats at most.")
        page.get_by_label("Parts of GPUs (MIG)").check()
        expect(page.locator("#seat-hints")).to_contain_text("no such GPUs")
        page.get_by_label("Parts of GPUs (MIG)").uncheck()
        page.get_by_label("Address").fill("http://git.example.org/x")
        expect(page.get_by_label("A git repository:")).to_be_checked()
        page.get_by_role("button", name="Make the course").click()
        expect(page.get_by_role("alert")).to_contain_text("https://")
        expect(page.get_by_label("Title")).to_have_value("Übungen zu ML")
        check(page)
        page.get_by_label("Address").fill("https://git.example.org/x")
        page.get_by_role("button", name="Make the course").click()

        # Its roster, from a list.
        expect(page.get_by_role("status")).to_contain_text("Next, say who is in it.")
        page.get_by_label("Names at the hub").fill("bob\nnot a name\n")
        page.get_by_role("button", name="See what it changes").click()
        expect(page.get_by_role("alert")).to_contain_text("Line 2:")
        page.get_by_label("The roster").fill("bob\neve\n")
        page.get_by_role("button", name="Look again").click()
        check(page)
        page.get_by_role("button", name="Take it over").click()
        expect(page.get_by_role("status")).to_contain_text("New: 2")
        page.get_by_label("Choose all of this page").check()
        page.get_by_label(f"Choose {known.admin_users[0]}").uncheck()
        page.get_by_label("Choose bob").uncheck()
        page.get_by_role("button", name="Remove").click()
        expect(page.get_by_role("main").get_by_role("listitem")).to_have_text(["eve"])
        check(page)
        page.get_by_role("button", name="Remove").click()
        expect(page.locator("tbody tr")).to_have_count(2)

        # A link, followed by somebody whom nobody knows here yet.
        page.get_by_role("link", name="Join links").first.click()
        page.get_by_label("For how many").fill("1")
        page.get_by_role("button", name="Make the link").click()
        link = page.get_by_label("Address of the join link").input_value()
        assert link.startswith(f"{console}join/")
        check(page)
        with visitor(browser, viewport=WIDE, locale="en-GB") as student:
            student.goto(link)
            sign_in(student, "ann", known.user_password)
            expect(student.get_by_role("heading", name="Join Übungen zu ML?")).to_be_visible()
            check(student)
            student.get_by_role("button", name="Join", exact=True).click()
            expect(student.get_by_role("status")).to_contain_text("Welcome to Übungen zu ML.")
            assert student.goto(f"{console}courses/ubungen-zu-ml/roster").status == 403  # type: ignore[union-attr]
            student.goto(f"{console}courses")
            expect(student.get_by_role("link", name="Übungen zu ML")).to_be_visible()
        with visitor(browser, viewport=WIDE, locale="en-GB") as late:
            late.goto(link)
            sign_in(late, "zoe", known.user_password)
            expect(late.get_by_role("heading", name="This link is used up")).to_be_visible()
            assert late.goto(f"{console}courses/ubungen-zu-ml").status == 404  # type: ignore[union-attr]
        page.reload()
        expect(page.get_by_role("main")).to_contain_text("1 of 1")

        # Two who change it at once, limits, and put away.
        page.get_by_role("link", name="Settings").click()
        answer = berth_console(berth, "PATCH", "courses/ubungen-zu-ml", {"title": "Machine learning"})
        assert answer == 200
        page.get_by_label("Title").fill("Statistics")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("alert")).to_contain_text("Machine learning")
        check(page)
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("heading", name="Statistics")).to_be_visible()
        page.get_by_role("link", name="Set limits").click()
        page.get_by_label("Seats in one session").fill("2")
        page.get_by_role("button", name="Set the limits").click()
        expect(page.get_by_role("status")).to_contain_text("The limits are set.")
        page.get_by_role("link", name="Archive the course").click()
        page.get_by_label("Reason").fill("The term is over")
        page.get_by_role("button", name="Archive it").click()
        expect(page.get_by_role("status")).to_contain_text("is archived.")
    assert link.rpartition("/")[2] not in berth.log.read_text(encoding="utf-8")
    assert berth_console(berth, "DELETE", "courses/ubungen-zu-ml/members/ann", None) == 204


def berth_console(berth: Berth, method: str, path: str, body: object) -> int:
    """Call the console's API as a script does; gives the status."""
    answer = requests.request(
        method,
        f"{berth.url}/services/console/api/v1/{path}",
        json=body,
        headers={"Authorization": f"Bearer {berth.token}", "If-Match": "*"},
        timeout=30,
    )
    return answer.status_code
