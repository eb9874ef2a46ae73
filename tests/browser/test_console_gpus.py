"""The board of GPUs beside a whole hub: a lease that appears by itself, a GPU that is drained and comes back."""

import re
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from playwright.sync_api import Browser, expect

from ..support.berth import Berth, deployment, eventually
from ..support.browser import axe, visitor

pytestmark = [pytest.mark.browser, pytest.mark.docker, pytest.mark.image, pytest.mark.hub]

WHY = "new fans & <b>filters</b>"


@pytest.fixture
def berth(engine: docker.DockerClient, tmp_path: Path) -> Iterator[Berth]:
    with deployment(tmp_path, BERTH_GPUS="sim:4") as berth, berth.hub():
        yield berth


def test_a_day_at_the_board(berth: Berth, browser: Browser) -> None:
    console = f"{berth.url}/services/console/"
    admin = berth.credentials.admin_users[0]
    with visitor(browser, viewport={"width": 1600, "height": 1000}) as page:
        page.goto(f"{console}gpus")
        page.get_by_label("Username:").fill(admin)
        page.get_by_label("Password:").fill(berth.credentials.admin_password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{console}gpus")
        # The janitor brings the GPUs in.
        card = page.get_by_role("article", name="gpu0", exact=True)
        eventually(lambda: page.reload() is not None and card.count())
        expect(page.get_by_role("article")).to_have_count(4)
        expect(card).to_contain_text("free")
        expect(card).to_contain_text("simulated")
        expect(page.locator("#live-note")).to_have_text("live")
        page.evaluate("() => { window.same = true; }")

        # A lease appears where one looks, and what its server does.
        berth.add_user("ann")
        berth.start_server("ann", {"profile": "gpu", "hours": 2}).raise_for_status()
        held = page.get_by_role("article").filter(has=page.get_by_role("link", name="ann"))
        expect(held).to_have_count(1, timeout=30_000)
        expect(held).to_contain_text(re.compile(r"until .* (1 h 59 min|2 h)"))
        expect(held).to_contain_text(re.compile(r"\d+ GiB of 16 GiB|\d+ °C"), timeout=30_000)
        assert page.evaluate("() => window.same") is True
        name = held.get_by_role("heading").inner_text()
        assert axe(page) == []

        # In the heat map, by keyboard.
        page.get_by_role("link", name="Heat map").click()
        cell = page.get_by_role("link", name=f"{name}: held (ann)")
        expect(cell).to_be_visible()
        page.get_by_role("link", name=re.compile("^gpu0:")).focus()
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("link", name=re.compile("^gpu1:"))).to_be_focused()
        cell.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()

        # Drained, with a reason; whom that concerns is said before.
        page.get_by_role("link", name="Drain").click()
        expect(page.get_by_role("main")).to_contain_text(re.compile(rf"1 lease of it runs:\s*ann, {name}, until"))
        page.get_by_label("Reason").fill(WHY)
        page.get_by_role("button", name="Drain").click()
        expect(page.get_by_role("status").first).to_have_text(f"Draining: {name}.")
        expect(page.get_by_role("heading", name="State: draining")).to_be_visible()
        expect(page.get_by_role("row").filter(has_text=WHY)).to_contain_text(admin)
        assert axe(page) == []
        page.get_by_role("link", name="All of it in the audit").click()
        expect(page.get_by_role("main")).to_contain_text(WHY)
        page.go_back()

        page.get_by_role("link", name="Put back into service").click()
        page.get_by_label("Reason").fill("they turn")
        page.get_by_role("button", name="Put back into service").click()
        expect(page.get_by_role("heading", name="State: in service")).to_be_visible()
