"""Quotas in a real browser: edited in place, looked at before saving, two admins at once, a file; by keyboard, too."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from spawner.operations import quotas

from ..support.browser import axe, visitor
from ..support.console import PREFIX
from ..support.console_world import OTHERS
from ..support.ledgers import sqlite_template
from .test_console_pages import PHONE, WIDE, Site, site

__all__ = ["sqlite_template"]

pytestmark = [pytest.mark.browser]

FILE = "default:\n  gpus: 1\ngroups:\n  physics:\n    gpus: {value: 4, why: A bigger course}\n"


@pytest.fixture
def where(sqlite_template: Path, tmp_path: Path) -> Iterator[Site]:
    with site(sqlite_template, tmp_path, full=True) as made:
        yield made


def check(page: Page) -> None:
    """Look at what is shown now in light and dark, wide and on a phone."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for size in (PHONE, WIDE):
            page.set_viewport_size(size)
            assert axe(page) == [], (page.url, scheme, size)
            assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth"), (page.url, size)


def of_everybody(where: Site) -> object:
    return next(one.value for one in quotas.all_grants(where.stand.office.desk) if one.dimension == "gpu_hours")


def test_a_walk_through_quotas(browser: Browser, where: Site) -> None:
    table = f"{where.address}{PREFIX}quotas"
    with visitor(browser, viewport=WIDE, timezone_id="Europe/Berlin") as page:
        where.sign_in(page, "olga")
        page.goto(table)
        page.reload()  # now the zone is known
        row = page.get_by_role("row", name="Everybody (default)")
        cell = row.locator("td[data-label='GPU-hours'] a")
        # By keyboard alone: open, give up, and be where one was.
        cell.press("Enter")
        expect(page.get_by_label("GPU-hours", exact=True)).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.locator("tr.editing")).to_have_count(0)
        expect(cell).to_be_focused()
        cell.press("Enter")
        page.get_by_label("GPU-hours", exact=True).fill("many")
        page.get_by_label("Reason", exact=True).fill("Fair use")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("gpu_hours must be a number")
        page.get_by_label("GPU-hours", exact=True).fill("2")
        page.get_by_label("Until (Europe/Berlin)").fill("2027-07-01T14:00")
        check(page)
        page.get_by_role("button", name="See what it changes").click()
        box = page.locator("tr.editing")
        expect(box).to_contain_text("It changes the quota of")
        expect(box).to_contain_text("ends earlier: the GPU-hours do not last")
        check(page)
        assert of_everybody(where) == 100
        with visitor(browser, viewport=WIDE) as other:
            # The second admin is told, and sees both values.
            where.sign_in(other, "olga")
            other.goto(f"{table}/edit?subject=default&dimension=gpu_hours")
            other.get_by_label("GPU-hours", exact=True).fill("300")
            other.get_by_label("Reason", exact=True).fill("A new term")
            other.get_by_role("button", name="See what it changes").click()
            page.get_by_role("button", name="Save").click()
            expect(page.get_by_role("status")).to_contain_text("GPU-hours of everybody (default): 2")
            other.get_by_role("button", name="Save").click()
            expect(other.get_by_role("alert")).to_contain_text("Somebody else has changed this value")
            check(other)
            assert of_everybody(where) == 2
            other.get_by_role("button", name="See what yours would change").click()
            other.get_by_role("button", name="Save").click()
            expect(other.get_by_role("status")).to_contain_text("GPU-hours of everybody (default): 300")
        assert of_everybody(where) == 300
        page.goto(f"{table}/import")
        page.get_by_label("File, CSV or YAML").set_input_files(
            {"name": "term.yaml", "mimeType": "application/yaml", "buffer": FILE.encode()}
        )
        page.get_by_label("Reason", exact=True).fill("Summer term")
        page.get_by_role("button", name="See what it changes").click()
        expect(page.get_by_role("row", name="group physics")).to_contain_text("A bigger course")
        check(page)
        page.get_by_role("button", name="Change 2 values").click()
        expect(page.get_by_role("status")).to_contain_text("Values changed: 2")
        page.goto(f"{table}/why?user={OTHERS[1]}")
        expect(page.get_by_role("row", name="GPUs at once")).to_contain_text("group physics")


def test_without_scripts(browser: Browser, where: Site) -> None:
    with visitor(browser, viewport=PHONE, java_script_enabled=False) as page:
        where.sign_in(page, "olga")
        page.goto(f"{where.address}{PREFIX}quotas")
        row = page.get_by_role("row", name="Everybody (default)")
        row.get_by_role("link", name="100").click()
        page.get_by_label("GPU-hours", exact=True).fill("50")
        page.get_by_label("Until (UTC)").fill("2027-07-01T14:00")
        page.get_by_label("Reason", exact=True).fill("Fair use")
        page.get_by_role("button", name="See what it changes").click()
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("status")).to_contain_text("GPU-hours of everybody (default): 50")
        assert of_everybody(where) == 50
