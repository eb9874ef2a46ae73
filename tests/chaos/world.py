"""A hub under load on an engine of its own, of which any part may be killed."""

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import docker
import requests
from docker.errors import DockerException

from ..support.berth import Berth
from ..support.own_engine import OwnEngine, place_for_engine
from ..support.ports import free_ports
from ..support.processes import processes_of
from ..support.tiny_image import ensure_tiny_image
from .books import PlainBooks
from .lives import Lives
from .people import People

PREFIX = "berth-chaos-"
USERS, GPUS = 12, 4
RECONCILE_SECONDS = 5
QUIET_SECONDS = 60
DRAIN_SECONDS = 120

_SIZE = {"cpu": 0.2, "memory": "64 MiB", "processes": 40, "shm": "1 MiB", "open_files": 256}
_SETTINGS = {
    "BERTH_GPUS": f"sim:{GPUS}",
    "BERTH_PULL": "never",
    "BERTH_STOP_GRACE": "1",
    "BERTH_READY_TIMEOUT": "20",
    "BERTH_START_TIMEOUT": "60",
    "BERTH_PROFILES": json.dumps(
        [{"slug": "cpu", "name": "CPU", "gpus": 0, **_SIZE}, {"slug": "gpu", "name": "GPU", "gpus": 1, **_SIZE}]
    ),
    "BERTH_LEASES": json.dumps(
        {
            "wait_seconds": 2,
            "offer_minutes": 0.3,
            "turnover_seconds": 1,
            "shortest_minutes": 0.02,
            "reconcile_seconds": RECONCILE_SECONDS,
        }
    ),
}


@dataclass
class Outage:
    """A part that was killed, until it had recovered; seconds since 1970."""

    part: str
    began: float
    over: float

    @property
    def seconds(self) -> float:
        return self.over - self.began


@dataclass
class World:
    engine: OwnEngine
    berth: Berth
    lives: Lives
    dice: random.Random
    outages: list[Outage] = field(default_factory=list)
    _hubs: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _hub: int = 0

    @property
    def books(self) -> PlainBooks:
        return PlainBooks(self.berth.state.ledger_file)

    def start_hub(self) -> None:
        """Start the hub, its janitor too; what a killed one left (its proxy) it finds."""
        self._hub = self._hubs.enter_context(self.berth.hub())

    def kill(self, part: str) -> Outage:
        """Kill a part, and see to it that it comes back: ``hub``, ``janitor``, ``dockerd`` or ``container``."""
        began = time.time()
        getattr(self, f"_kill_{part}")()
        outage = Outage(part, began, time.time())
        self.outages.append(outage)
        return outage

    def _kill_hub(self) -> None:
        self.berth.kill_hub(self._hub)
        time.sleep(self.dice.uniform(0, 2))
        self.start_hub()
        self._await_janitor()

    def _kill_janitor(self) -> None:
        # After a restart of the hub the former one's may not have noticed yet.
        for pid in processes_of("spawner.janitor", self.berth.state.path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._await_janitor()  # the hub looks after it every 30 s

    def _kill_dockerd(self) -> None:
        self.engine.kill()
        time.sleep(self.dice.uniform(0, 3))
        # Without it the engine ends, as it starts, the containers that are left.
        self.engine.start(*(["--live-restore"] if self.dice.random() < 0.5 else []))

    def _kill_container(self) -> None:
        living = sorted(self.lives.living(), key=lambda life: life.user)
        if living:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.dice.choice(living).pid, signal.SIGKILL)

    def _await_janitor(self) -> None:
        since = time.time()
        wait_for(lambda: self.books.loop_succeeded("reconcile") > since, QUIET_SECONDS, "no janitor")

    def difference(self) -> str:
        """Say in what ledger and containers differ; empty if in nothing, and nothing is under way."""
        before = self.books.open_leases()
        try:
            client = docker.APIClient(base_url=self.engine.url, version="auto", timeout=20)
            listed = client.containers(filters={"label": f"berth.hub={self.berth.state.hub_id}"})
            client.close()
        except (DockerException, requests.RequestException) as error:
            return f"the engine does not answer: {error}"
        if before != self.books.open_leases():
            return "the ledger changes"
        under_way = [lease for lease in before if lease.state not in {"active", "offered"}]
        if under_way:
            return f"under way: {under_way}"
        written = {lease.id: (lease.container, lease.slots) for lease in before if lease.state == "active"}
        existing = {
            entry["Labels"]["berth.lease"]: (entry["Id"], tuple(entry["Labels"]["berth.slots"].split(",")))
            for entry in listed
            if entry["Labels"].get("berth.lease")
        }
        if written != existing:
            return f"leases {written}, containers {existing}"
        running = sorted(entry["Labels"]["berth.user"] for entry in listed)
        known = self._known_to_the_hub()
        return "" if running == known else f"containers of {running}, servers of {known}"

    def _known_to_the_hub(self) -> list[str]:
        try:
            users = self.berth.api("GET", "users").json()
        except (requests.RequestException, ValueError):
            return ["the hub does not answer"]
        return sorted(user["name"] for user in users for server in user["servers"].values() if server["ready"])

    def settle(self) -> float:
        """Wait until ledger and containers agree; gives the seconds that took."""
        began = time.monotonic()
        wait_for(lambda: not self.difference(), QUIET_SECONDS, self.difference)
        return time.monotonic() - began

    def drain(self, people: People) -> None:
        """Let everybody who waits be served, while the others stop; nobody may wait for ever."""
        people.rest()

        def empty() -> bool:
            people.stop_all()
            return not (self.books.waiting() or self.books.open_leases() or self._known_to_the_hub())

        wait_for(empty, DRAIN_SECONDS, self._left)
        self.settle()

    def _left(self) -> str:
        servers = self._known_to_the_hub()
        return f"waiting: {self.books.waiting()}, leases: {self.books.open_leases()}, servers: {servers}"

    def close(self) -> None:
        self._hubs.close()


def wait_for(true: Callable[[], bool], seconds: float, what: str | Callable[[], str]) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.2)


@contextlib.contextmanager
def world(directory: Path, seed: int) -> Iterator[tuple[World, People]]:
    """Make a world whose users rest yet."""
    with place_for_engine(PREFIX) as place:
        engine = OwnEngine(place)
        engine.start()
        lives = Lives(engine)
        try:
            client = engine.connect()
            image = ensure_tiny_image(client)
            client.close()
            # Threads and processes from here on, the hub with its containers' network too, live there.
            with engine.entered():
                settings = {**_SETTINGS, "BERTH_IMAGE": image, "DOCKER_HOST": engine.url}
                berth = Berth(directory, free_ports(1)[0], settings)
                berth.state.create()
                made = World(engine, berth, lives, random.Random(seed))
                try:
                    made.start_hub()
                    people = People(berth, seed, USERS)
                    for name in people.names:
                        berth.add_user(name)
                    made._await_janitor()
                    yield made, people
                    people.close()
                finally:
                    made.close()
        finally:
            lives.close()
            engine.stop()
