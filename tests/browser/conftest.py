from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from ..hub.conftest import berth, engine
from ..support.browser import chromium, chromium_path

__all__ = ["berth", "browser", "engine"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if chromium_path() is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with chromium() as started:
        yield started
