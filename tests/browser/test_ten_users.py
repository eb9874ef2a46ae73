"""Ten users on four GPUs: four train, six queue, one gives up, one is served when a lease ends, one takes CPU."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from playwright.sync_api import Browser, Page, expect

from spawner.operations import leases
from spawner.policy.leases import LeaseState

from ..support.berth import Berth, containers_of, deployment, eventually
from ..support.browser import visitor
from ..support.ledger_of import lease_of, ledger_of, loops, open_leases
from .notebook import open_notebook, run_cell, sign_in

pytestmark = [pytest.mark.browser, pytest.mark.docker, pytest.mark.image, pytest.mark.timeout(600)]

TRAINERS = ("ann", "bob", "cid", "dea")
WAITING = ("eva", "fay", "gus", "hal", "ida", "jon")
PROFILES = [
    {"slug": "cpu", "name": "CPU", "cpu": 1, "memory": "1 GiB", "gpus": 0},
    {"slug": "gpu", "name": "GPU", "cpu": 1, "memory": "2 GiB", "gpus": 1},
]
TRAINING = (
    "import tensorflow as tf; tf.random.set_seed(1); "
    "m = tf.keras.Sequential([tf.keras.layers.Dense(1)]); m.compile('sgd', 'mse'); "
    "h = m.fit(tf.random.normal((64, 4)), tf.ones(64), epochs=2, verbose=0); "
    "print('trained', len(h.history['loss']), 'epochs')"
)


@pytest.fixture(scope="module")
def berth(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    variables = {
        "BERTH_GPUS": "sim:4",
        "BERTH_PROFILES": json.dumps(PROFILES),
        "BERTH_LEASES": json.dumps({"wait_seconds": 2}),
    }
    with deployment(tmp_path_factory.mktemp("berth"), **variables) as berth, berth.hub():
        eventually(lambda: {"inventory", "reconcile"} <= set(loops(berth)))
        yield berth


def _ask_for_a_gpu(page: Page, berth: Berth, user: str) -> None:
    sign_in(page, berth, user)
    page.goto(f"{berth.url}/hub/spawn")
    page.locator('input[name="profile"][value="gpu"]').check()
    page.get_by_role("button", name="Start").click()


def test_ten_users_on_four_gpus(berth: Berth, engine: docker.DockerClient, browser: Browser, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        pages = {user: stack.enter_context(visitor(browser)) for user in (*TRAINERS, *WAITING)}
        for user in TRAINERS:
            _ask_for_a_gpu(pages[user], berth, user)
            pages[user].wait_for_url(re.compile(rf"/user/{user}/"), timeout=90_000)
        for user in TRAINERS:
            open_notebook(pages[user])
            run_cell(pages[user], TRAINING, re.compile("trained 2 epochs"), 120)
        assert {lease.user for lease in open_leases(berth)} == set(TRAINERS)
        held = [slot for lease in open_leases(berth) for slot in lease.slots]
        assert len(held) == len(set(held)) == 4

        for place, user in enumerate(WAITING, start=1):
            _ask_for_a_gpu(pages[user], berth, user)
            panel = pages[user].locator("#berth-queue")
            expect(panel).to_be_visible(timeout=60_000)
            expect(panel).to_contain_text(re.compile(rf"\b{place}\b"), timeout=20_000)

        # One gives up: the next moves up.
        pages["fay"].get_by_role("button", name="Leave the queue").click()
        expect(pages["gus"].locator("#berth-queue-place")).to_contain_text(re.compile(r"\b2\b"), timeout=30_000)

        # One lease ends: its work goes on without the GPU, and the first of the queue is served by itself.
        ended = lease_of(berth, "bob")
        assert ended is not None
        with ledger_of(berth) as desk:
            leases.end(desk, ended.id, "an admin", "a test")
        pages["eva"].wait_for_url(re.compile("/user/eva/"), timeout=120_000)
        served = lease_of(berth, "eva")
        assert served is not None
        assert (served.state, served.slots) == (LeaseState.ACTIVE, ended.slots)
        eventually(lambda: berth.ready("bob"), 90)
        assert lease_of(berth, "bob") is None
        expect(pages["gus"].locator("#berth-queue-place")).to_contain_text(re.compile(r"\b1\b"), timeout=30_000)

        # One does not want to wait any longer.
        pages["ida"].get_by_role("button", name="Start on CPU now").click()
        pages["ida"].wait_for_url(re.compile("/user/ida/"), timeout=120_000)

        by_user = {container.labels["berth.user"]: container for container in containers_of(engine, berth)}
        assert set(by_user) == {*TRAINERS, "eva", "ida"}
        with_gpu = {user for user, container in by_user.items() if container.labels.get("berth.slots")}
        assert with_gpu == {"ann", "cid", "dea", "eva"}
        assert {by_user[user].labels["berth.lease"] for user in with_gpu} == {lease.id for lease in open_leases(berth)}
        with ledger_of(berth) as desk, desk.ledger.reading() as books:
            assert [ticket.user for ticket in books.tickets.waiting()] == ["gus", "hal", "jon"]
        open_notebook(pages["ida"])
        run_cell(pages["ida"], TRAINING, re.compile("trained 2 epochs"), 120)
