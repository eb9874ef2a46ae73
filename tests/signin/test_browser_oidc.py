"""A whole hub, a real provider, a real browser."""

import json
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from ..support.browser import visitor
from ..support.hub import Hub, running_hub
from ..support.oidc import Account, Client, make_certificate, oidc_provider
from ..support.ports import free_ports
from .conftest import HUB_CONFIG

pytestmark = [pytest.mark.browser, pytest.mark.hub]


def account(name: str, *groups: str, verified: bool = True, **claims: object) -> Account:
    email = {"email": f"{name.lower()}@example.org", "email_verified": verified}
    return Account(f"{name}'s password", {"preferred_username": name, "groups": [*groups], **email, **claims})


ACCOUNTS = {
    "alice": account("Alice", "staff", "vision"),
    "root": account("root", "hub-admins"),
    "stranger": account("stranger", "visitors"),
    "eve": account("eve", "staff"),
    "nameless": account("nameless", "staff", preferred_username=None),
    "slash": account("../admin", "staff"),
    "text": Account("text's password", {"preferred_username": "text", "groups": "staff"}),
}


@dataclass(frozen=True)
class Site:
    hub: Hub
    client: Client
    issuer: str

    def sign_in(self, page: Page, login: str) -> None:
        page.goto(self.hub.url)
        page.get_by_role("button", name="Sign in with Example University").click()
        expect(page.get_by_role("heading")).to_have_text("The test provider")
        page.get_by_label("Login").fill(login)
        page.get_by_label("Password").fill(ACCOUNTS[login].password)
        page.get_by_role("button").click()


@pytest.fixture(scope="module")
def site(module_dir: Path) -> Iterator[Site]:
    port = free_ports(1)[0]
    client = Client([f"http://127.0.0.1:{port}/hub/oauth_callback"])
    with oidc_provider(module_dir, client, ACCOUNTS) as issuer:
        (module_dir / "secret").write_text(client.client_secret)
        settings = {
            "method": "oidc",
            "issuer": issuer,
            "client_id": client.client_id,
            "client_secret_file": str(module_dir / "secret"),
            "provider_name": "Example University",
            "allowed_groups": ["staff"],
            "admin_groups": ["hub-admins"],
            "blocked_users": ["eve"],
        }
        (module_dir / "berth.yaml").write_text(json.dumps({"sign_in": settings}))
        with running_hub(module_dir, HUB_CONFIG, port=port) as hub:
            yield Site(hub, client, issuer)


def test_a_member_signs_in_and_brings_her_groups(site: Site, browser: Browser) -> None:
    with visitor(browser) as page:
        site.sign_in(page, "alice")
        expect(page).to_have_url(f"{site.hub.url}/hub/home")
        expect(page.get_by_role("link", name="Admin")).to_have_count(0)
    alice = site.hub.user("alice")
    assert alice is not None
    assert (sorted(alice["groups"]), alice["admin"]) == (["staff", "vision"], False)
    assert site.hub.api("groups/vision")["users"] == ["alice"]


def test_a_group_makes_an_admin(site: Site, browser: Browser) -> None:
    with visitor(browser) as page:
        site.sign_in(page, "root")
        expect(page.get_by_role("link", name="Admin")).to_be_visible()
    root = site.hub.user("root")
    assert root is not None
    assert (root["groups"], root["admin"]) == (["hub-admins"], True)


def test_a_stranger_is_refused_with_a_sentence(site: Site, browser: Browser, tmp_path: Path) -> None:
    with visitor(browser) as page:
        site.sign_in(page, "stranger")
        expect(page.get_by_role("heading")).to_have_text("You may not come in here")
        expect(page.get_by_text("Example University knows you, but your account may not use this hub.")).to_be_visible()
        page.screenshot(path=tmp_path / "stranger.png")
        page.get_by_role("link", name="Back to the sign-in page").click()
        expect(page.get_by_role("button", name="Sign in with Example University")).to_be_visible()
        page.goto(f"{site.hub.url}/hub/home")
        expect(page).to_have_url(f"{site.hub.url}/hub/login?next=%2Fhub%2Fhome")
    assert site.hub.user("stranger") is None
    with pytest.raises(urllib.error.HTTPError, match="404"):
        site.hub.api("groups/visitors")


def test_who_is_blocked_stays_out_whatever_the_group(site: Site, browser: Browser) -> None:
    with visitor(browser) as page:
        site.sign_in(page, "eve")
        expect(page.get_by_text("your account may not use this hub")).to_be_visible()
    assert site.hub.user("eve") is None


def test_a_user_without_a_name_is_told_what_is_missing(site: Site, browser: Browser, tmp_path: Path) -> None:
    with visitor(browser) as page:
        site.sign_in(page, "nameless")
        expect(page.get_by_text("did not say your 'preferred_username'")).to_be_visible()
        page.screenshot(path=tmp_path / "nameless.png")


def test_a_name_that_is_a_path_is_refused(site: Site, browser: Browser) -> None:
    with visitor(browser) as page:
        site.sign_in(page, "slash")
        expect(page.get_by_text("your account may not use this hub")).to_be_visible()


def test_a_single_group_as_text_is_a_group(site: Site, browser: Browser) -> None:
    with visitor(browser) as page:
        site.sign_in(page, "text")
        expect(page).to_have_url(f"{site.hub.url}/hub/home")
    user = site.hub.user("text")
    assert user is not None
    assert user["groups"] == ["staff"]


def test_a_wrong_password_stays_at_the_provider(site: Site, browser: Browser) -> None:
    with visitor(browser) as page:
        page.goto(site.hub.url)
        page.get_by_role("button", name="Sign in with Example University").click()
        page.get_by_label("Login").fill("alice")
        page.get_by_label("Password").fill("guess")
        page.get_by_role("button").click()
        expect(page.get_by_role("alert")).to_have_text("Wrong login or password.")


def test_the_hub_sends_a_proof_key(site: Site, browser: Browser) -> None:
    with visitor(browser) as page, page.expect_request(lambda request: "/auth?" in request.url) as sent:
        page.goto(site.hub.url)
        page.get_by_role("button", name="Sign in with Example University").click()
    assert "code_challenge_method=S256" in sent.value.url


def test_another_sites_answer_is_refused(site: Site, browser: Browser) -> None:
    with visitor(browser) as page:
        response = page.goto(f"{site.hub.url}/hub/oauth_callback?code=stolen&state=guessed")
        assert response is not None
        assert response.status == 400


def test_no_secret_in_the_log_nor_in_what_people_see(site: Site, browser: Browser) -> None:
    with visitor(browser) as page:
        site.sign_in(page, "alice")
        assert site.client.client_secret not in page.content()
    log = site.hub.log.read_text()
    assert site.client.client_secret not in log
    assert "code=[secret]" in log


def test_a_group_that_is_left_is_left_at_the_next_sign_in(site: Site, browser: Browser, module_dir: Path) -> None:
    # The same hub and another provider at the same address, where alice and root have changed groups.
    port = free_ports(1)[0]
    directory = module_dir / "moved"
    directory.mkdir()
    client = replace(site.client, redirect_uris=[f"http://127.0.0.1:{port}/hub/oauth_callback"])
    provider_port = free_ports(1)[0]
    settings = {
        "method": "oidc",
        "issuer": f"http://127.0.0.1:{provider_port}",
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "provider_name": "Example University",
        "allowed_groups": ["staff"],
        "admin_groups": ["hub-admins"],
    }
    (directory / "berth.yaml").write_text(json.dumps({"sign_in": settings}))
    for groups, admin in ((["hub-admins", "staff"], True), (["staff"], False)):
        with (
            oidc_provider(directory, client, {"alice": account("Alice", *groups)}, port=provider_port) as issuer,
            running_hub(directory, HUB_CONFIG, port=port) as hub,
            visitor(browser) as page,
        ):
            Site(hub, client, issuer).sign_in(page, "alice")
            expect(page).to_have_url(f"{hub.url}/hub/home")
            alice = hub.user("alice")
            assert alice is not None
            assert (sorted(alice["groups"]), alice["admin"]) == (groups, admin)
    # A hub that restarts while the provider is away goes on; only signing in has to wait.
    with running_hub(directory, HUB_CONFIG, port=port) as hub:
        assert hub.user("alice") is not None
    assert "Going on with what it said the last time" in (directory / "hub.log").read_text()


def test_unverified_addresses_are_refused_as_names(browser: Browser, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    client = Client([f"http://127.0.0.1:{port}/hub/oauth_callback"])
    accounts = {"alice": account("Alice"), "stranger": account("stranger", verified=False)}
    with oidc_provider(tmp_path, client, accounts) as issuer:
        settings = {
            "method": "oidc",
            "issuer": issuer,
            "client_id": client.client_id,
            "client_secret": client.client_secret,
            "provider_name": "Example University",
            "username_claim": "email",
            "allow_all": True,
        }
        (tmp_path / "berth.yaml").write_text(json.dumps({"sign_in": settings}))
        with running_hub(tmp_path, HUB_CONFIG, port=port) as hub:
            site = Site(hub, client, issuer)
            with visitor(browser) as page:
                site.sign_in(page, "stranger")
                expect(page.get_by_text("has not verified your e-mail address")).to_be_visible()
            with visitor(browser) as page:
                site.sign_in(page, "alice")
                expect(page).to_have_url(f"{hub.url}/hub/home")
            assert hub.user("alice@example.org") is not None
            assert hub.user("stranger@example.org") is None


def test_a_provider_with_a_certificate_of_ones_own(browser: Browser, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    client = Client([f"http://127.0.0.1:{port}/hub/oauth_callback"])
    tls = make_certificate(tmp_path)
    with oidc_provider(tmp_path, client, {"alice": account("Alice", "staff")}, tls=tls) as issuer:
        settings = {
            "method": "oidc",
            "issuer": issuer,
            "client_id": client.client_id,
            "client_secret": client.client_secret,
            "provider_name": "Example University",
            # Both ways to learn who she is: here from the token, above from the userinfo address.
            "claims_from": "id_token",
            "username_claim": "sub",
            "allowed_users": ["alice"],
        }
        (tmp_path / "berth.yaml").write_text(json.dumps({"sign_in": settings, "certificates": ["company.pem"]}))
        with running_hub(tmp_path, HUB_CONFIG, port=port) as hub, visitor(browser) as page:
            Site(hub, client, issuer).sign_in(page, "alice")
            expect(page).to_have_url(f"{hub.url}/hub/home")
            assert hub.user("alice") is not None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"client_secret": "changeme"}, "sign_in.client_secret: expected the client secret that the provider gave"),
        ({"client_secret": None}, "Set BERTH_SIGN_IN__CLIENT_SECRET, or write it to a file"),
        ({"issuer": "http://127.0.0.1:1"}, "sign_in.issuer: http://127.0.0.1:1/.well-known/openid-conf"),
    ],
)
def test_a_hub_with_wrong_settings_does_not_start(tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    settings = {
        "method": "oidc",
        "client_id": "berth",
        "client_secret": "5d1c0c1a7f3e4b6f",
        "authorize_url": "https://login.example.org/a",
        "token_url": "https://login.example.org/t",
        "userinfo_url": "https://login.example.org/u",
        "allow_all": True,
    }
    if "issuer" in change:
        settings = {key: value for key, value in settings.items() if not key.endswith("_url")}
    sign_in = {key: value for key, value in {**settings, **change}.items() if value is not None}
    (tmp_path / "berth.yaml").write_text(json.dumps({"sign_in": sign_in}))
    with pytest.raises(RuntimeError) as caught, running_hub(tmp_path, HUB_CONFIG):
        pass
    assert sentence in str(caught.value)
