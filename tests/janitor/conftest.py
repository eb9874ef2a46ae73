import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import docker
import pytest

from spawner.gpus.scenario import GpuSpec, Scenario
from spawner.gpus.simulated import SimulatedProbe
from spawner.janitor import watchdog
from spawner.janitor.hub import Hub
from spawner.janitor.loops import Look
from spawner.janitor.post import Post
from spawner.janitor.steps import Step
from spawner.janitor.tasks import inventory_steps
from spawner.ledger import Ledger
from spawner.settings import Settings

from ..support.api_hub import TOKEN, ApiHub, api_hub
from ..support.class_hub import ClassHub, class_hub
from ..support.ledgers import copied, sqlite_template
from ..support.office import NOW, Office
from .school import School, book

__all__ = ["sqlite_template"]


@dataclass
class Watch:
    """A janitor at work: its post, and the world that it looks at.

    Attributes
    ----------
    holders
        Pids of who holds which slot, for the simulated GPUs.
    """

    office: Office
    post: Post
    holders: dict[str, Sequence[int]] = field(default_factory=dict)

    def see(self, *gpus: GpuSpec, **settings: Any) -> None:
        """Let the probe find these GPUs, and the inventory know them."""
        probe = SimulatedProbe(Scenario(starts_at=NOW, gpus=gpus), self.office.clock, holders=self._held)
        self.settings(**settings)
        self.post = replace(self.post, probe=probe)
        self.turn(inventory_steps)

    def _held(self) -> Mapping[str, Sequence[int]]:
        return self.holders

    def settings(self, **changes: Any) -> None:
        """Change settings; of the sections, only what is named."""
        values = self.post.settings.model_dump(exclude_unset=True)
        for name, value in changes.items():
            values[name] = {**values.get(name, {}), **value} if isinstance(value, dict) else value
        self.post = replace(self.post, settings=Settings(**values))

    def look(self, look: Look) -> list[Step]:
        """Look, which must change nothing."""
        before = self.office.tables()
        steps = look(self.post)
        assert self.office.tables() == before
        return steps

    def turn(self, look: Look) -> list[bool]:
        """Look, and carry out what there is to be done."""
        return [step.carry_out() for step in self.look(look)]


@pytest.fixture
def office(sqlite_template: Path, tmp_path: Path) -> Iterator[Office]:
    place = copied(sqlite_template, tmp_path)
    ledger = Ledger(place.url)
    yield Office(ledger, place)
    ledger.close()


@pytest.fixture
def nowhere() -> Iterator[docker.APIClient]:
    """A client of an engine that is not there."""
    client = docker.APIClient(base_url="unix:///nowhere/docker.sock", version="1.40", timeout=5)
    yield client
    client.close()


@pytest.fixture
def hub() -> Iterator[ApiHub]:
    with api_hub() as made:
        yield made


@pytest.fixture
def watch(office: Office, nowhere: docker.APIClient, hub: ApiHub, tmp_path: Path) -> Iterator[Watch]:
    """A janitor without GPUs, whose hub answers 404 and whose engine is away."""
    settings = Settings(state_dir=tmp_path / "state")
    speaker = Hub(hub.api_url, hub.url, TOKEN)
    yield Watch(office, Post(office.desk, nowhere, "0a1b2c3d", settings, hub=speaker))
    with contextlib.suppress(KeyError):
        watchdog._OVER.clear()
    watchdog._BOUND.clear()


@pytest.fixture
def hub_of_classes(office: Office) -> Iterator[ClassHub]:
    with class_hub(office.clock) as hub:
        yield hub


@pytest.fixture
def school(office: Office, hub_of_classes: ClassHub, nowhere: docker.APIClient, tmp_path: Any) -> School:
    settings = Settings(state_dir=tmp_path / "state", classes={"starts_at_once": 2})
    speaker = Hub(hub_of_classes.api_url, hub_of_classes.url, TOKEN)
    post = Post(office.desk, nowhere, "0a1b2c3d", settings, hub=speaker)
    return School(office, hub_of_classes, post, book(office))
