"""The demo, and accounts of the hub's own, in a real browser."""

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from ..support.browser import visitor
from ..support.hub import Hub, running_hub
from .conftest import ADMIN_PASSWORD, HUB_CONFIG

pytestmark = [pytest.mark.browser, pytest.mark.hub]

PASSWORD = "seven geese in a row"


@pytest.fixture(scope="module")
def hub(module_dir: Path) -> Iterator[Hub]:
    sign_in = {"method": "native", "admins": ["Ada"], "allowed_users": ["carol", "gail"], "blocked_users": ["eve"]}
    (module_dir / "berth.yaml").write_text(json.dumps({"sign_in": sign_in}))
    with running_hub(module_dir, HUB_CONFIG) as started:
        yield started


def sign_up(hub: Hub, page: Page, name: str, password: str = PASSWORD) -> None:
    page.goto(f"{hub.url}/hub/signup")
    page.get_by_label("Username:").fill(name)
    page.get_by_label("Password:", exact=True).fill(password)
    page.locator("#password_confirmation_input").fill(password)  # its label names another element
    page.get_by_role("button", name="Create User").click()


def sign_in(hub: Hub, page: Page, name: str, password: str = PASSWORD) -> None:
    page.goto(f"{hub.url}/hub/login")
    page.get_by_label("Username:").fill(name)
    page.get_by_label("Password:", exact=True).fill(password)
    page.get_by_role("button", name=re.compile("sign in", re.IGNORECASE)).click()


def test_someone_signs_up_and_an_admin_lets_them_in(hub: Hub, browser: Browser, tmp_path: Path) -> None:
    with visitor(browser) as page, visitor(browser) as admin:
        sign_up(hub, page, "bob")
        expect(page.get_by_role("alert")).to_contain_text("Your information has been sent to the admin.")
        sign_in(hub, page, "bob")
        expect(page.get_by_text("Your account waits for an administrator's approval.")).to_be_visible()
        page.screenshot(path=tmp_path / "waiting.png")
        assert hub.user("bob") is None

        sign_in(hub, admin, "ada", ADMIN_PASSWORD)
        expect(admin).to_have_url(f"{hub.url}/hub/home")
        admin.get_by_role("link", name="Authorize Users").click()
        expect(admin.locator("#bob")).to_contain_text("No")
        admin.screenshot(path=tmp_path / "authorize.png")
        admin.locator("#bob").get_by_role("button", name="Authorize").click()
        expect(admin.locator("#bob")).to_contain_text("Yes")

        sign_in(hub, page, "bob")
        expect(page).to_have_url(f"{hub.url}/hub/home")
        expect(page.get_by_role("link", name="Authorize Users")).to_have_count(0)
        response = page.goto(f"{hub.url}/hub/authorize")
        assert response is not None
        assert response.status == 403
        page.get_by_role("link", name="Back to your home page").click()
        expect(page).to_have_url(f"{hub.url}/hub/home")
        page.goto(f"{hub.url}/hub/no-such-page")
        expect(page.get_by_role("heading")).to_have_text("There is no such page")
    bob, ada = hub.user("bob"), hub.user("ada")
    assert bob is not None
    assert ada is not None
    assert (bob["admin"], ada["admin"]) == (False, True)


def test_nobody_takes_the_admins_name(hub: Hub, browser: Browser) -> None:
    with visitor(browser) as page:
        sign_up(hub, page, "Ada")
        expect(page.get_by_role("alert")).to_contain_text("this username is already in use")
        sign_in(hub, page, "ada")
        expect(page.get_by_text("Invalid username or password")).to_be_visible()


def test_a_link_from_elsewhere_lets_nobody_in(hub: Hub, browser: Browser) -> None:
    with visitor(browser) as page, visitor(browser) as admin:
        sign_up(hub, page, "mallory")
        sign_in(hub, admin, "ada", ADMIN_PASSWORD)
        expect(admin).to_have_url(f"{hub.url}/hub/home")
        response = admin.goto(f"{hub.url}/hub/authorize/mallory")
        assert response is not None
        assert response.status == 403
        # Another site: localhost is another host than 127.0.0.1.
        admin.goto(hub.url.replace("127.0.0.1", "localhost") + "/hub/login")
        admin.evaluate(f"location.href = '{hub.url}/hub/discard/mallory'")
        expect(admin.get_by_text("from the hub's own page")).to_be_visible()
        sign_in(hub, page, "mallory")
        expect(page.get_by_text("Your account waits for an administrator's approval.")).to_be_visible()


def test_a_name_on_the_list_needs_no_admin(hub: Hub, browser: Browser) -> None:
    with visitor(browser) as page:
        sign_up(hub, page, "carol")
        sign_in(hub, page, "carol")
        expect(page).to_have_url(f"{hub.url}/hub/home")


@pytest.mark.parametrize("password", ["short", "1234567890"])
def test_a_weak_password_is_refused(hub: Hub, browser: Browser, password: str) -> None:
    with visitor(browser) as page:
        sign_up(hub, page, "dave", password)
        expect(page.get_by_role("alert")).to_contain_text("at least 10 characters and is not too common")


def test_guessing_is_slowed_down(hub: Hub, browser: Browser) -> None:
    with visitor(browser) as page:
        sign_up(hub, page, "gail")
        for _ in range(5):
            sign_in(hub, page, "gail", "a guess that is wrong")
        sign_in(hub, page, "gail")
        expect(page.get_by_text("Invalid username or password")).to_be_visible()
    gail = hub.user("gail")
    assert gail is not None  # users on the list are there from the start
    assert gail["last_activity"] is None


def test_accounts_outlive_the_hub(browser: Browser, tmp_path: Path) -> None:
    sign_in_settings = {"method": "native", "admins": ["ada"], "sign_up": "open"}
    (tmp_path / "berth.yaml").write_text(json.dumps({"sign_in": sign_in_settings}))
    with running_hub(tmp_path, HUB_CONFIG) as hub, visitor(browser) as page:
        sign_up(hub, page, "bob")
        sign_in(hub, page, "bob")
        expect(page).to_have_url(f"{hub.url}/hub/home")
        page.get_by_role("link", name="Change Password").click()
        expect(page.get_by_role("heading", name="Change password for bob")).to_be_visible()
    changed = HUB_CONFIG.replace(ADMIN_PASSWORD, "another-generated-password-of-the-admin")
    sign_in_settings["sign_up"] = "closed"
    (tmp_path / "berth.yaml").write_text(json.dumps({"sign_in": sign_in_settings}))
    with running_hub(tmp_path, changed) as hub, visitor(browser) as page:
        sign_in(hub, page, "bob")
        expect(page).to_have_url(f"{hub.url}/hub/home")
        response = page.goto(f"{hub.url}/hub/signup")
        assert response is not None
        assert response.status == 404
    with sqlite3.connect(tmp_path / "jupyterhub.sqlite") as database:
        tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
        assert {"users_info", "alembic_version"} <= tables
        assert list(database.execute("select username from users_info order by 1")) == [("ada",), ("bob",)]
    log = (tmp_path / "hub.log").read_text()
    for secret in (ADMIN_PASSWORD, "another-generated-password-of-the-admin", PASSWORD):
        assert secret not in log


def test_the_demo(browser: Browser, tmp_path: Path) -> None:
    with running_hub(tmp_path, HUB_CONFIG) as hub:
        with visitor(browser) as page:
            sign_in(hub, page, "ada", "password of all users")
            expect(page).to_have_url(f"{hub.url}/hub/home")
            expect(page.get_by_role("link", name="Admin")).to_have_count(0)
        with visitor(browser) as page:
            page.goto(f"{hub.url}/hub/login")
            # As when the form was left open for long.
            page.locator("[name=_xsrf]").evaluate("field => field.value = 'expired'")
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_text("Login form invalid or expired. Try again.")).to_be_visible()
            expect(page.get_by_label("Username:")).to_be_visible()
            sign_in(hub, page, "admin", "password of all users")
            expect(page.get_by_text("Invalid username or password")).to_be_visible()
            sign_in(hub, page, "admin", ADMIN_PASSWORD)
            expect(page.get_by_role("link", name="Admin")).to_be_visible()
        assert ADMIN_PASSWORD not in hub.log.read_text()
        assert "password of all users" not in hub.log.read_text()
