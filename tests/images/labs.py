"""JupyterLab in the user image, met with a real browser, before a hub at the wire."""

import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

import docker
import pytest
import requests
from docker.models.containers import Container
from playwright.sync_api import Browser, Page, expect

from ..support.browser import chromium, visitor
from ..support.lease_hub import TOKEN, LeaseHub, running_lease_hub
from ..support.ports import free_ports
from ..support.waiting import eventually

TOASTS = ".Toastify__toast"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def hub(engine: docker.DockerClient) -> Iterator[LeaseHub]:
    bridge = engine.networks.get("bridge").attrs["IPAM"]["Config"][0]
    gateway = bridge.get("Gateway") or str(ip_network(bridge["Subnet"])[1])
    with running_lease_hub(gateway) as started:
        yield started


class Lab:
    """A user's server, on a port of this machine."""

    def __init__(self, container: Container, port: int) -> None:
        self.container = container
        self.url = f"http://127.0.0.1:{port}/user/ada/"
        eventually(self.answers, 60)

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.url}api", timeout=5).ok
        except requests.ConnectionError:
            return False

    def ask(self, path: str, method: str = "GET", body: object = None) -> requests.Response:
        headers = {"Authorization": f"token {TOKEN}"}
        return requests.request(method, f"{self.url}{path}", json=body, headers=headers, timeout=60)

    @property
    def log(self) -> str:
        text = self.container.logs()
        assert isinstance(text, bytes)
        return text.decode()


@pytest.fixture
def serve(start: Callable[..., Container], hub: LeaseHub) -> Callable[..., Lab]:
    def run(*command: str, volumes: dict[str, Any] | None = None, **environment: str) -> Lab:
        port = free_ports(1)[0]
        container = start(
            list(command) or None,
            volumes=volumes or {},
            environment=hub.environment(**environment),
            ports={"8888/tcp": ("127.0.0.1", port)},
        )
        return Lab(container, port)

    return run


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with visitor(browser) as page:
        # Under the proxy's one address, which is not here, this is the hub's.
        page.context.route("**/hub/**", lambda route: route.fulfill(body="a page of the hub"))
        page.set_viewport_size({"width": 1280, "height": 800})
        page.context.set_extra_http_headers({"Authorization": f"token {TOKEN}"})
        yield page


def open_lab(page: Page, lab: Lab, path: str = "lab?reset") -> None:
    page.goto(f"{lab.url}{path}")
    expect(page.locator("#jp-main-dock-panel")).to_be_visible(timeout=60_000)


def until(page: Page, true: Callable[[], object], seconds: float = 20) -> None:
    """Wait and let the page work: its requests go through this thread."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s"
        page.wait_for_timeout(50)


def toast(page: Page, text: str) -> Any:
    return page.locator(TOASTS).filter(has_text=text)
