from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spawner.exporter.opening import Exporter, Node
from spawner.metrics.settings import MetricsSettings
from spawner.settings import Settings

from ..engine.conftest import flaky, specify  # noqa: F401  the containers are the engine's
from ..gpus.conftest import library, script  # noqa: F401  and the GPUs the stub's
from .scenes import Scrape

Open = Callable[..., "Scraped"]


class Scraped:
    """An exporter in this process, and what it tells."""

    def __init__(self, exporter: Exporter) -> None:
        self.exporter = exporter
        exporter.start()

    def scrape(self) -> Scrape:
        return Scrape.of(self.exporter.collect())


@pytest.fixture
def open_exporter(hub_id: str, tmp_path: Path) -> Iterator[Open]:
    """Open exporters of this module's hub."""
    opened: list[Scraped] = []

    def open_exporter(url: str = "", *, gpus: str = "none", key: bytes | None = None, **metrics: Any) -> Scraped:
        settings = Settings(gpus=gpus, state_dir=tmp_path, metrics=MetricsSettings(**{"home_minutes": 0, **metrics}))
        engine = {"base_url": url} if url else {}
        opened.append(Scraped(Exporter(settings, Node(hub_id, key=key), engine)))
        return opened[-1]

    yield open_exporter
    for one in opened:
        one.exporter.close()
