"""What tests do in the browser: sign in, open a notebook, run a cell."""

import re

from playwright.sync_api import Page, expect

from ..support.berth import Berth


def sign_in(page: Page, berth: Berth, user: str) -> None:
    page.goto(berth.url)
    page.get_by_label("Username:").fill(user)
    page.get_by_label("Password:").fill(berth.credentials.user_password)
    page.get_by_role("button", name="Sign in").click()


def open_notebook(page: Page) -> None:
    page.locator(".jp-LauncherCard[data-category='Notebook']").first.click(timeout=120_000)
    # Until the kernel answers, the page may still put the file's contents in the place of what was typed.
    expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle", timeout=60_000)


def run_cell(page: Page, code: str, expected: re.Pattern[str], seconds: float = 90) -> None:
    editor = page.locator(".jp-Notebook:visible .jp-Cell.jp-mod-active .cm-content")
    # Filled in rather than typed: the editor would indent and complete what is typed.
    editor.fill(code)
    expect(editor).to_contain_text(code.splitlines()[0])
    editor.press("Shift+Enter")
    expect(page.locator(".jp-Notebook:visible .jp-OutputArea-output").last).to_have_text(
        expected, timeout=seconds * 1000
    )
