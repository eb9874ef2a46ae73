"""The console beside a whole hub: who gets in, what survives whose death."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import requests
from playwright.sync_api import Browser, expect

from ..support.berth import Berth, deployment, eventually
from ..support.browser import visitor
from ..support.processes import processes_of

pytestmark = [pytest.mark.browser, pytest.mark.docker, pytest.mark.image]


@pytest.fixture
def berth(engine: docker.DockerClient, tmp_path: Path) -> Iterator[Berth]:
    with deployment(tmp_path, BERTH_GPUS="none") as berth:
        yield berth


def _me(berth: Berth, token: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return requests.get(f"{berth.url}/services/console/api/v1/me", headers=headers, timeout=30)


def _answers(berth: Berth) -> bool:
    return _me(berth, berth.token).status_code == 200


def test_what_survives_whose_death(berth: Berth, browser: Browser) -> None:
    console = f"{berth.url}/services/console/"
    with visitor(browser) as page:
        with berth.hub() as hub:
            eventually(lambda: _answers(berth))
            # A person is led through the hub's sign-in, and back.
            page.goto(console)
            page.get_by_label("Username:").fill("ann")
            page.get_by_label("Password:").fill(berth.credentials.user_password)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url(console)
            expect(page.locator(".who-name")).to_have_text("ann")
            expect(page.get_by_role("link", name="Quotas")).to_have_count(0)

            # Tokens are worth what the hub says: a user's own, one that is narrower, one that is no more.
            berth.add_user("bob")
            made = berth.api("POST", "users/bob/tokens", {"scopes": ["custom:berth:read:self"]}).json()
            assert _me(berth, made["token"]).json() == {
                "name": "bob",
                "kind": "user",
                "groups": [],
                "scopes": ["custom:berth:read:self"],
            }
            too_much = berth.api("POST", "users/bob/tokens", {"scopes": ["custom:berth:quotas"]})
            assert too_much.status_code == 400, too_much.text
            assert _me(berth, "made-up").status_code == 401

            # Without the console, servers start.
            [process] = processes_of("spawner.console", berth.directory)
            os.kill(process, signal.SIGKILL)
            assert not _answers(berth)
            berth.start_server("bob", {"profile": "cpu"}).raise_for_status()
            eventually(lambda: berth.ready("bob"))
            berth.kill_hub(hub)
        # The next hub has one again; whoever was signed in still is.
        with berth.hub() as hub:
            eventually(lambda: _answers(berth))
            page.reload()
            expect(page.locator(".who-name")).to_have_text("ann")
            # Signed out at the hub is signed out here.
            page.get_by_role("link", name="Sign out").click()
            page.goto(console)
            expect(page.get_by_label("Username:")).to_be_visible()
            berth.kill_hub(hub)
            # A console whose hub is gone ends.
            eventually(lambda: not processes_of("spawner.console", berth.directory))
