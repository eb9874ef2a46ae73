"""The console as an admin and a user see it in a lively deployment: the documentation's pictures, taken anew.

They go to a temporary directory; with ``BERTH_PICTURES`` to that one, which is how ``make pictures`` takes them.
"""

import math
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from spawner.console.readings import HeldReading, Holding, Reading
from spawner.ledger import Ledger
from spawner.operations import inventory, leases, offers, quotas
from spawner.policy.gpus import GpuState
from spawner.policy.leases import Lease

from ..bench.busy_ledger import Busy, Size, fill
from ..support.browser import visitor
from ..support.console import PREFIX, ConsoleStand, open_console
from ..support.console_server import served
from ..support.console_world import ANN, OTHERS, running_server
from ..support.ledgers import Place
from ..support.npm import ROOT
from ..support.office import HOUR, MINUTE, NOW, Office
from .test_console_pages import Site

pytestmark = [pytest.mark.browser]

SMALL, LARGE = Size(users=300, gpus=48, queued=14, closed=8000), Size(users=2000, gpus=1000, queued=20, closed=2000)
_TOLD_EVERY, _TOLD_FOR = timedelta(seconds=10), timedelta(minutes=15)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wanted = os.environ.get("BERTH_PICTURES")
    return ROOT / wanted if wanted else tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with busy_site(tmp_path_factory.mktemp("small"), SMALL, rounds=_TOLD_FOR // _TOLD_EVERY) as made:
        yield made


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with busy_site(tmp_path_factory.mktemp("large"), LARGE, rounds=1) as made:
        yield made


@contextmanager
def busy_site(directory: Path, size: Size, rounds: int) -> Iterator[Site]:
    """Serve a console whose exporters have told so often what the GPUs do."""
    url = f"sqlite:///{directory / 'ledger.sqlite'}"
    busy = fill(url, NOW, size)
    ledger = Ledger(url)
    with open_console(Office(ledger, Place("sqlite", url))) as stand:
        for name, group in busy.groups.items():
            servers = {"": running_server("", name)} if name == ANN else {}
            stand.hub.add_user(name, [group], last_activity="2027-03-01T10:00:00Z", servers=servers)
        if size is SMALL:
            decide(stand.office, busy)
        tell(stand, rounds)
        with served(stand.app) as address:
            yield Site(stand, address, None)
    ledger.close()


def decide(office: Office, busy: Busy) -> None:
    """Let admins have done something this noon, and a class have GPUs tomorrow."""
    desk, waiting = office.desk, busy.other_ticket
    with office.ledger.reading() as books:
        h100 = [slot.id for slot in books.gpus.slots() if slot.model.startswith("H100")]
        idle = next(lease for lease in books.leases.open() if lease.idle_since is not None)
    office.clock.now = NOW - 8 * MINUTE
    inventory.set_state(desk, "n001-gpu2", GpuState.DRAINING, "olga", "New fans on Tuesday")
    office.wait(2 * MINUTE)
    inventory.set_state(desk, "n001-gpu5", GpuState.QUARANTINED, "otto", "XID 79 twice since Friday")
    office.wait(MINUTE)
    until = NOW + timedelta(days=9)
    quotas.set_quota(
        desk, quotas.make_grant("user", OTHERS[0], "gpus", 6, until, "olga", "Deadline on the tenth", desk.clock())
    )
    office.wait(2 * MINUTE)
    offers.move_up(desk, waiting, "olga", "Deadline on the tenth")
    office.wait(MINUTE)
    leases.end(desk, idle.id, "otto", "Idle since noon, and others wait", timedelta(minutes=15))
    office.clock.now = NOW
    office.reserve("deep-learning", NOW + 22 * HOUR, NOW + 26 * HOUR, *h100[:6])


def tell(stand: ConsoleStand, rounds: int) -> None:
    """Let every GPU do what its leases might: trainings go up and down, idle ones hold their memory."""
    chance = random.Random(7)
    with stand.office.ledger.reading() as books:
        slots, gpus, running = books.gpus.slots(), books.gpus.all(), books.leases.open()
    sizes: dict[str, int] = {}
    for slot in slots:
        sizes[slot.gpu] = sizes.get(slot.gpu, 0) + slot.memory
    on: dict[str, Lease] = {slot: lease for lease in running for slot in lease.slots}
    load = {slot.gpu: on[slot.id] for slot in slots if slot.id in on}
    beats = {gpu: (chance.uniform(0.55, 0.97), chance.uniform(0, 6), chance.uniform(0.3, 0.95)) for gpu in sizes}
    for number in reversed(range(rounds)):
        at = NOW - number * _TOLD_EVERY
        found, held = {}, {}
        for gpu in gpus:
            lease, (level, phase, full) = load.get(gpu.uuid), beats[gpu.uuid]
            works = lease is not None and lease.idle_since is None
            sm = max(0.0, min(1.0, level + 0.12 * math.sin(phase + number / 4))) if works else 0.0
            used = sizes[gpu.uuid] * full if lease is not None else 0.0
            found[gpu.uuid] = Reading(at, sm, used, sizes[gpu.uuid], 36 + 42 * sm, 60 + 320 * sm, 0)
            if lease is not None:
                for part in lease.slots:
                    held[Holding(lease.id, gpu.uuid, part)] = HeldReading(at, sm, used)
        stand.console.readings.put(found, held)


@pytest.fixture
def take(pictures: Path) -> Callable[[Page, str], None]:
    def taken(page: Page, name: str) -> None:
        page.wait_for_timeout(300)  # transitions
        path = pictures / f"{name}.png"
        assert (ROOT / "docs/images" / path.name).is_file(), "new: take it with `make pictures`"
        page.screenshot(path=path)
        assert path.stat().st_size > 10_000

    return taken


@contextmanager
def reading(browser: Browser, where: Site, name: str, height: int) -> Iterator[Callable[[str], Page]]:
    size = ViewportSize(width=1200, height=height)
    with visitor(browser, viewport=size, locale="en-GB", timezone_id="Europe/Berlin") as page:
        where.sign_in(page, name)
        page.goto(f"{where.address}{PREFIX}")  # from here on the zone is known

        def opened(path: str) -> Page:
            page.goto(f"{where.address}{PREFIX}{path}")
            expect(page.locator("main h1")).to_be_visible()
            return page

        yield opened


def test_what_a_data_scientist_sees(browser: Browser, small: Site, take: Callable[[Page, str], None]) -> None:
    with reading(browser, small, ANN, 1000) as opened:
        page = opened("")
        expect(page.get_by_role("link", name="Open", exact=True)).to_be_visible()
        take(page, "console-mine")
        page = opened("free")
        expect(page.get_by_role("heading", name="H100-SXM5-80GB").first).to_be_visible()
        take(page, "console-free")


def test_what_an_admin_sees(browser: Browser, small: Site, take: Callable[[Page, str], None]) -> None:
    with reading(browser, small, "olga", 860) as opened:
        page = opened("gpus")
        expect(page.get_by_text("live", exact=True).first).to_be_visible()
        take(page, "console-gpus")
        for path, name in (
            ("leases", "console-leases"),
            ("leases/queue", "console-queue"),
            ("usage?days=30&by=group", "console-use"),
            ("usage/waste?days=30", "console-waste"),
            ("usage/week?day=2027-02-22", "console-week"),
            ("audit", "console-audit"),
            ("homes", "console-homes"),
        ):
            page = opened(path)
            expect(page.get_by_role("heading", name="There is no such thing")).to_have_count(0)
            take(page, name)


def test_a_thousand_gpus(browser: Browser, large: Site, take: Callable[[Page, str], None]) -> None:
    with reading(browser, large, "olga", 860) as opened:
        take(opened("gpus"), "console-heat-map")


def test_a_quota_before_it_is_saved(browser: Browser, small: Site, take: Callable[[Page, str], None]) -> None:
    with reading(browser, small, "olga", 760) as opened:
        page = opened("quotas/edit?subject=group&name=research&dimension=gpus")
        page.get_by_label("GPUs at once", exact=True).fill("1")
        page.get_by_label("Reason", exact=True).fill("Summer term")
        page.get_by_role("button", name="See what it changes").click()
        expect(page.locator("main")).to_contain_text("It changes the quota of")
        take(page, "console-quota")
        page = opened("quotas/import")
        page.get_by_label("File, CSV or YAML").set_input_files(
            {"name": "term.yaml", "mimeType": "application/yaml", "buffer": TERM.encode()}
        )
        page.get_by_label("Reason", exact=True).fill("Summer term")
        page.get_by_role("button", name="See what it changes").click()
        expect(page.get_by_role("row", name="group vision")).to_be_visible()
        take(page, "console-import")


TERM = """\
default:
  gpus: 1
groups:
  research:
    gpus: 6
    gpu_hours: 2000
    lease_hours: 72
  vision:
    gpus: {value: 2, until: 2027-07-31, why: "Vision course, summer term"}
"""
