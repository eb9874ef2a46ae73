"""What the settings of signing in accept, and how they refuse the rest."""

from pathlib import Path
from typing import Any

import pytest

from spawner.errors import SettingsInvalid
from spawner.settings_file import load_settings
from spawner.signin.model import METHODS, SignIn

SECRET = "b5cd3f7a9e0144f2"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("BERTH_"):
            monkeypatch.delenv(name)


def load(directory: Path, yaml: str) -> SignIn:
    (directory / "berth.yaml").write_text(yaml, encoding="utf-8")
    return load_settings(directory).sign_in


def refusal(directory: Path, yaml: str) -> str:
    with pytest.raises(SettingsInvalid) as caught:
        load(directory, yaml)
    return str(caught.value).replace(f"{directory / 'berth.yaml'}: ", "")


def test_the_default_is_the_demo(tmp_path: Path) -> None:
    assert load(tmp_path, "").method == "demo"


@pytest.mark.parametrize("address", ["0.0.0.0", "10.0.0.1", "::"])
def test_the_demo_stays_on_this_machine(tmp_path: Path, address: str) -> None:
    assert "bind_address must be 127.0.0.1 with the demo sign-in" in refusal(tmp_path, f'bind_address: "{address}"')


def test_other_methods_listen_anywhere(tmp_path: Path) -> None:
    assert load(tmp_path, "bind_address: 0.0.0.0\nsign_in: {method: native, admins: [ada]}").admins == {"ada"}


def test_every_option_says_which_methods_it_belongs_to() -> None:
    assert set(METHODS) == set(SignIn.model_fields) - {"method"}


def test_every_description_names_the_methods() -> None:
    for name, field in SignIn.model_fields.items():
        if name != "method":
            named = (field.description or "").rsplit("(", 1)[1]
            methods = METHODS[name]
            if len(methods) <= 3:
                assert set(named.rstrip(".)").replace("`", "").split(", ")) == methods
            else:
                assert named.startswith("All ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "method: github, client_id: a1, allow_all: true, hosted_domains: [a.org]",
            "sign_in.hosted_domains: an option of google; sign_in.method is github.",
        ),
        (
            "method: native, admins: [ada], allow_all: true",
            "sign_in.allow_all: an option of github, gitlab, google, azuread, oidc and lti; sign_in.method is native.",
        ),
        ("method: demo, admins: [ada]", "sign_in.admins: an option of native, github, gitlab, google"),
        ("method: github, client_id: a1, allow_al: true", "sign_in.allow_al: no such key."),
        ("method: ldap", "sign_in.method: input should be 'demo', 'native', 'github'"),
        ("method: github, allow_all: true", "sign_in.client_id: expected the client id"),
        ("method: github, client_id: '  ', allow_all: true", "sign_in.client_id: string should have at least 1"),
        (
            "method: github, client_id: a1",
            "nobody could sign in; say who may, with allow_all, allowed_users, allowed_groups, admins, admin_groups",
        ),
        (
            "method: google, client_id: a1, hosted_domains: [a.org]",
            "sign_in.method: nobody could sign in; say who may, with allow_all, allowed_users or admins.",
        ),
        (
            "method: google, client_id: a1, allow_all: true, allowed_groups: [a]",
            "sign_in.allowed_groups: an option of github, gitlab, azuread and oidc; sign_in.method is google.",
        ),
        ("method: azuread, client_id: a1, allow_all: true", "sign_in.tenant_id: expected the id or domain"),
        (
            "method: azuread, client_id: a1, allow_all: true, tenant_id: common",
            "sign_in.tenant_id: your own tenant's id or domain; with this one, anybody's tenant could sign in",
        ),
        (
            "method: azuread, client_id: a1, allow_all: true, tenant_id: ../x",
            "sign_in.tenant_id: the tenant's id (a GUID) or domain",
        ),
        ("method: oidc, client_id: a1, allow_all: true", "sign_in.issuer: expected the provider's address"),
        (
            "method: oidc, client_id: a1, allow_all: true, issuer: 'http://login.example.org'",
            "sign_in.issuer: an address with https://, since tokens and secrets travel there",
        ),
        (
            "method: oidc, client_id: a1, allow_all: true, issuer: login.example.org",
            "sign_in.issuer: an address such as https://login.example.org",
        ),
        (
            "method: oidc, client_id: a1, allow_all: true, token_url: 'https://a.org/t'",
            "sign_in.authorize_url: without issuer, set all of authorize_url, token_url and userinfo_url",
        ),
        (
            "method: oidc, client_id: a1, allow_all: true, issuer: 'https://a.org', token_url: 'https://a.org/t'",
            "sign_in.issuer: set issuer, or authorize_url with token_url and userinfo_url, not both",
        ),
        (
            "method: oidc, client_id: a1, sync_groups: false, admin_groups: [a], issuer: 'https://a.org'",
            "sign_in.admin_groups: needs sync_groups: true",
        ),
        (f"method: github, client_id: a1, allow_all: true, client_secret: {SECRET}, client_secret_file: x", "not both"),
        ("method: native", "sign_in.admins: expected at least one user name"),
        ("method: lti, client_id: a1, allow_all: true", "sign_in.issuer: expected what the learning platform calls"),
        ("method: lti, client_id: a1, allow_all: true", "sign_in.jwks_url: expected where the learning platform"),
        ("method: lti, client_id: a1, allow_all: true", "sign_in.username_claim: expected what of a launch becomes"),
        ("method: lti, allow_all: true", "sign_in.client_id: expected the client id"),
        ("method: lti, client_id: a1", "say who may, with allow_all, allowed_users or admins."),
        ("method: lti, client_secret: abc", "sign_in.client_secret: an option of github, gitlab, google, azuread and"),
        ("method: lti, jwks_url: 'http://moodle.example.org'", "sign_in.jwks_url: an address with https://"),
        ("method: oidc, courses: {a: ml}", "sign_in.courses: an option of lti; sign_in.method is oidc."),
        ("method: native, admins: alice", "sign_in.admins: input should be a valid frozenset"),
        ("method: github, client_id: a1, organizations: ['my org']", "sign_in.organizations"),
    ],
)
def test_what_cannot_work_is_refused_by_name(tmp_path: Path, options: str, message: str) -> None:
    told = refusal(tmp_path, f"sign_in: {{{options}}}")
    assert message in told
    assert SECRET not in told


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    told = refusal(tmp_path, "sign_in: {method: oidc, organizations: [a]}")
    assert [line.split(": ")[0] for line in told.splitlines()] == [
        "sign_in.organizations",
        "sign_in.client_id",
        "sign_in.issuer",
    ]


def test_the_environment_adds_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTH_SIGN_IN__CLIENT_SECRET", SECRET)
    monkeypatch.setenv("BERTH_SIGN_IN__ADMINS", '["Ada"]')
    sign_in = load(tmp_path, "sign_in: {method: github, client_id: a1}")
    assert sign_in.admins == {"ada"}
    assert sign_in.client_secret is not None
    assert sign_in.client_secret.get_secret_value() == SECRET
    assert SECRET not in f"{sign_in!r} {sign_in} {sign_in.model_dump()} {sign_in.model_dump_json()}"


def test_the_environment_alone_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "METHOD": "oidc",
        "CLIENT_ID": "berth",
        "ISSUER": "https://login.example.org",
        "ALLOWED_GROUPS": '["staff"]',
        "SYNC_GROUPS": "true",
    }.items():
        monkeypatch.setenv(f"BERTH_SIGN_IN__{name}", value)
    assert load(tmp_path, "").allowed_groups == {"staff"}


def test_a_mistake_in_the_environment_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTH_SIGN_IN__ISSUER", "ftp://a.org")
    told = refusal(tmp_path, "sign_in: {method: oidc, client_id: a1, allow_all: true}")
    assert told.startswith("environment variable BERTH_SIGN_IN__ISSUER: sign_in.issuer: an address with https://")


def test_a_secret_is_not_told_with_a_mistake(tmp_path: Path) -> None:
    assert SECRET not in refusal(tmp_path, f"sign_in: {{method: github, client_secret: [{SECRET}]}}")
    assert SECRET not in refusal(tmp_path, f"sign_in: {{method: demo, client_secret: {SECRET}}}")


def test_names_are_compared_as_the_hub_does() -> None:
    options: dict[str, Any] = {"method": "native", "admins": [" Ada "], "blocked_users": ["Eve"]}
    sign_in = SignIn(**options)
    assert sign_in.admins == {"ada"}
    assert sign_in.blocked_users == {"eve"}


def test_a_secrets_file_counts_from_the_settings_file() -> None:
    sign_in = SignIn(method="github", client_id="a1", allow_all=True, client_secret_file=Path("s"))
    assert sign_in.resolved(Path("/etc/berth")).client_secret_file == Path("/etc/berth/s")
    assert SignIn().resolved(Path("/etc/berth")) == SignIn()
