"""The browser that tests of pages share."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from ..support.browser import visitor

pytestmark = [pytest.mark.browser, pytest.mark.timeout(60)]


def _descendants(pid: int) -> Iterator[int]:
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, listed.read_text().split()):
            yield child
            yield from _descendants(child)


def _sockets(pid: int) -> Iterator[str]:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed by now
            yield str(entry.readlink())


def test_it_does_not_hear_of_networks_that_come_and_go(browser: Browser) -> None:
    with visitor(browser) as page:
        page.goto("data:text/html,here")
        family = list(_descendants(os.getpid()))
        held = {name for pid in family for name in _sockets(pid)}
        lines = [line.split() for line in Path("/proc/net/netlink").read_text().splitlines()[1:]]
    assert [name for name in held if name.startswith("socket:")]
    # Those that are told of changes have joined groups.
    assert not [inode for _, _, _, groups, *_, inode in lines if int(groups, 16) and f"socket:[{inode}]" in held]
