"""A data scientist's way through the console, with a whole hub, real containers and simulated GPUs."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from playwright.sync_api import Browser, Page, expect

from ..support.berth import Berth, containers_of, deployment, environment_of, eventually
from ..support.browser import inaccessible, visitor

pytestmark = [pytest.mark.docker, pytest.mark.image, pytest.mark.hub, pytest.mark.browser]

PROFILES = [
    {"slug": "cpu", "name": "CPU", "cpu": 1, "memory": "1 GiB", "gpus": 0},
    {"slug": "gpu", "name": "GPU", "cpu": 1, "memory": "1 GiB", "gpus": 1},
]
SLOW = 40_000  # milliseconds, for what containers take


@pytest.fixture(scope="module")
def hub(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    variables = {
        "BERTH_GPUS": "sim:2",
        "BERTH_PROFILES": json.dumps(PROFILES),
        "BERTH_LIMITS": json.dumps({"default": {"gpus": 2, "gpu_hours": 40}}),
    }
    with deployment(tmp_path_factory.mktemp("berth"), **variables) as berth, berth.hub():
        yield berth


def _sign_in(page: Page, berth: Berth, user: str) -> None:
    page.goto(berth.url)
    page.get_by_label("Username:").fill(user)
    page.get_by_label("Password:").fill(berth.credentials.user_password)
    page.get_by_role("button", name="Sign in").click()


def _environment(engine: docker.DockerClient, berth: Berth) -> dict[str, str]:
    [container] = containers_of(engine, berth, "ann")
    return environment_of(container.attrs)


def test_a_day_with_a_gpu(hub: Berth, engine: docker.DockerClient, browser: Browser, tmp_path: Path) -> None:
    with visitor(browser) as page:
        _sign_in(page, hub, "ann")
        # The janitor brings the GPUs in.
        eventually(lambda: "Simulated GPU" in (page.goto(f"{hub.url}/hub/spawn"), page.content())[1])
        page.get_by_role("link", name="What is free, now and over the next days").click()
        expect(page.get_by_text("of 2 free now")).to_be_visible()
        page.get_by_role("link", name="Mine").click()
        server = page.get_by_role("region", name="Default server")
        expect(server).to_contain_text("It has never been started")

        server.get_by_role("link", name="Start").click()
        page.get_by_role("radio", name="GPU").check()
        page.get_by_label("For how many hours").fill("1")
        page.get_by_role("button", name="Start").click()
        expect(server).to_contain_text("Running", timeout=SLOW)
        expect(server).to_contain_text(re.compile(r"Lease ends in\s*(1 h|59 min)"))
        expect(page.get_by_role("region", name="What is left")).to_contain_text("1 of 2 in use")
        # Comes by itself, from the exporter.
        expect(server).to_contain_text(re.compile(r"Computing \d+ %"), timeout=SLOW)
        expect(server.get_by_role("img", name=re.compile("GPU use, last 15 minutes"))).to_be_visible()
        assert inaccessible(page) == []

        server.get_by_role("link", name="Extend").click()
        page.get_by_label("By how much").select_option(label="2 h")
        page.get_by_role("button", name="Extend").click()
        expect(server).to_contain_text(re.compile(r"Lease ends in\s*(3 h|2 h 59 min)"))

        server.get_by_role("link", name="Release GPU").click()
        expect(page.get_by_role("radio", name="Goes on without GPU")).to_be_checked()
        page.get_by_role("button", name="Give them back").click()
        expect(server).to_contain_text("It has no GPU.", timeout=SLOW)
        eventually(lambda: hub.ready("ann"))
        assert hub.servers("ann")[""]["user_options"] == {"profile": "gpu", "gpus": 0}
        expect(page.get_by_role("region", name="Leases before")).to_be_visible()

        page.reload()
        expect(page.get_by_role("region", name="Leases before")).to_contain_text("Given back")
        server.get_by_role("link", name="Restart clean").click()
        page.get_by_role("button", name="Restart clean").click()
        expect(server.get_by_text("Clean", exact=True)).to_be_visible(timeout=SLOW)
        assert _environment(engine, hub)["PYTHONUSERBASE"] == "/tmp/berth-clean/python"
        server.get_by_role("link", name="Restart", exact=True).click()
        page.get_by_role("button", name="Restart").click()
        expect(server.get_by_text("Clean", exact=True)).to_be_hidden(timeout=SLOW)
        expect(server.get_by_role("link", name="Stop")).to_be_visible(timeout=SLOW)
        eventually(lambda: "PYTHONUSERBASE" not in _environment(engine, hub))

        server.get_by_role("link", name="Stop").click()
        page.get_by_role("button", name="Stop the server").click()
        expect(server).to_contain_text("Not running", timeout=SLOW)
        assert not containers_of(engine, hub, "ann")
        # The hub's own page leads here.
        page.goto(f"{hub.url}/hub/home")
        page.get_by_role("link", name="Console").click()
        expect(page.get_by_role("heading", name="My servers and GPUs")).to_be_visible()
