"""The walk of a newcomer: sign in, choose, train, stop, come back. And the neighbour who must not get in."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from playwright.sync_api import Browser, Page, expect

from ..support.berth import Berth, containers_of, deployment, eventually
from ..support.browser import visitor
from .notebook import open_notebook, run_cell, sign_in

pytestmark = [pytest.mark.docker, pytest.mark.image, pytest.mark.hub, pytest.mark.browser]

TRAINING = """\
import tensorflow as tf, pathlib
x = tf.random.normal((256, 4)); y = tf.reduce_sum(x, axis=1)
model = tf.keras.Sequential([tf.keras.layers.Dense(8, activation='relu'), tf.keras.layers.Dense(1)])
model.compile('adam', 'mse'); history = model.fit(x, y, epochs=2, verbose=0)
pathlib.Path('trained.txt').write_text(tf.__version__)
print('epochs', len(history.history['loss']), 'version', tf.__version__)
"""


def _start(page: Page) -> None:
    page.get_by_text("For notebooks, data preparation").click()
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(re.compile(r"/user/[^/]+/lab"), timeout=120_000)
    expect(page.locator("#jp-main-dock-panel")).to_be_visible(timeout=60_000)


@pytest.fixture
def ann(browser: Browser) -> Iterator[Page]:
    with visitor(browser) as page:
        page.set_viewport_size({"width": 1280, "height": 900})
        yield page


def test_newcomer_trains_and_comes_back(berth: Berth, engine: docker.DockerClient, browser: Browser, ann: Page) -> None:
    sign_in(ann, berth, "ann")
    expect(ann.get_by_role("heading", name="Start your server")).to_be_visible()
    # A demo without a driver has two simulated GPUs, and says so.
    expect(ann.locator(".berth-card", has_text="For training.")).to_contain_text("simulated")
    _start(ann)
    open_notebook(ann)
    run_cell(ann, TRAINING, re.compile(r"epochs 2 version 2\.9\.3"))
    run_cell(
        ann,
        "print(open('/sys/fs/cgroup/memory/memory.limit_in_bytes').read().strip()"
        " if __import__('os').path.exists('/sys/fs/cgroup/memory') else open('/sys/fs/cgroup/memory.max').read())",
        re.compile(rf"\s*{2 << 30}\s*"),
        30,
    )

    with visitor(browser) as page:
        sign_in(page, berth, "bob")
        expect(page.get_by_role("heading", name="Start your server")).to_be_visible()
        page.goto(f"{berth.url}/user/ann/lab")
        expect(page.locator("body")).not_to_contain_text("Launcher")
        assert page.locator("#jp-main-dock-panel").count() == 0
        response = page.request.get(f"{berth.url}/user/ann/api/contents", max_redirects=10)
        assert "trained.txt" not in response.text()
        _start_of_neighbour(page, berth)
    address = containers_of(engine, berth, "ann")[0].attrs["NetworkSettings"]["Networks"]
    ip = next(iter(address.values()))["IPAddress"]
    reached = containers_of(engine, berth, "bob")[0].exec_run(
        ["curl", "--max-time", "3", "-s", "-o", "/dev/null", f"http://{ip}:8888/user/ann/api"]
    )
    assert reached.exit_code != 0, "a neighbour's container reached the server"

    ann.goto(f"{berth.url}/hub/home")
    ann.get_by_role("button", name="Stop My Server").click()
    eventually(lambda: containers_of(engine, berth, "ann") == [])
    ann.goto(f"{berth.url}/hub/spawn")
    _start(ann)
    # JupyterLab brings back the open notebook; a fresh one needs the launcher.
    ann.goto(f"{berth.url}/user/ann/lab?reset")
    open_notebook(ann)
    run_cell(ann, "print('kept:', open('trained.txt').read())", re.compile(r"kept: 2\.9\.3"), 30)


def _start_of_neighbour(page: Page, berth: Berth) -> None:
    page.goto(f"{berth.url}/hub/spawn")
    _start(page)


def test_progress_shows_real_steps(engine: docker.DockerClient, browser: Browser, tmp_path: Path) -> None:
    # On a tenth of a core, so that the start takes long enough to be watched.
    profile = {"slug": "slow", "name": "Slow", "cpu": 0.1, "memory": "1 GiB"}
    with (
        deployment(tmp_path, BERTH_PROFILES=json.dumps([profile])) as berth,
        berth.hub(),
        visitor(browser) as page,
    ):
        sign_in(page, berth, "carol")
        page.get_by_role("button", name="Start").click()
        page.wait_for_url(re.compile("/hub/spawn-pending/"))
        log = page.locator("#progress-log")
        expect(log).to_contain_text("Container created.", timeout=30_000)
        expect(log).to_contain_text("waiting for the server in it to answer", timeout=30_000)
        page.wait_for_url(re.compile(r"/user/carol/lab"), timeout=120_000)


def test_open_tab_works_on_after_a_restart_of_the_hub(
    engine: docker.DockerClient, browser: Browser, tmp_path: Path
) -> None:
    with deployment(tmp_path) as berth, visitor(browser) as page:
        with berth.hub():
            sign_in(page, berth, "dan")
            _start(page)
            open_notebook(page)
            run_cell(page, "remembered = 41; print('set')", re.compile("set"), 60)
        with berth.hub():
            eventually(lambda: berth.ready("dan"))
            run_cell(page, "print('still', remembered + 1)", re.compile("still 42"), 90)
