"""Every method's settings, and the authenticator's traits that follow, as literals."""

from pathlib import Path
from typing import Any

import pytest
from oauthenticator.generic import GenericOAuthenticator
from oauthenticator.github import GitHubOAuthenticator
from oauthenticator.google import GoogleOAuthenticator
from tornado.web import HTTPError
from traitlets.config import Config

from spawner.errors import SignInMisconfigured
from spawner.signin import AuthenticatorConfig, Endpoints, SignIn, authenticator_config
from spawner.signin.claims import GitHubTeams, GroupsFrom, UserNameFrom
from spawner.signin.lti import LaunchAuthenticator

from ..support.lti import Platform
from ..support.oidc import make_certificate
from ..support.ports import free_ports

SECRET = "b5cd3f7a9e0144f2"
CALLBACK = "https://berth.example.org/hub/oauth_callback"
USER_PASSWORD = "u" * 20
ADMIN_PASSWORD = "a" * 40
CUSTOM = "https://purl.imsglobal.org/spec/lti/claim/custom"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return make_certificate(tmp_path).certificate


def configure(
    method: str, endpoints: Endpoints | None = None, ca_bundle: Path | None = None, **options: object
) -> AuthenticatorConfig:
    if method not in {"demo", "native"}:
        secret = {} if method == "lti" else {"client_secret": SECRET}
        options = {"client_id": "Iv1.8a61f9b3", **secret, **options}
    return authenticator_config(
        SignIn.model_validate({"method": method, **options}),
        callback_url=CALLBACK,
        user_password=USER_PASSWORD,
        admin_password=ADMIN_PASSWORD,
        endpoints=endpoints,
        ca_bundle=ca_bundle,
    )


def common(provider: str, **changes: object) -> dict[str, object]:
    return {
        "login_service": provider,
        "client_id": "Iv1.8a61f9b3",
        "client_secret": SECRET,
        "oauth_callback_url": CALLBACK,
        "enable_pkce": True,
        "basic_auth": False,
        "validate_server_cert": True,
        "http_request_kwargs": {},
        "allow_all": False,
        "allow_existing_users": False,
        "allowed_users": set(),
        "blocked_users": set(),
        "admin_users": set(),
        "custom_403_message": (
            f"{provider} knows you, but your account may not use this hub. Ask the hub's administrator to let you in, "
            "or sign out there and come back with another account."
        ),
        **changes,
    }


def test_demo() -> None:
    assert configure("demo") == AuthenticatorConfig(
        "jupyterhub.authenticators.shared.SharedPasswordAuthenticator",
        {
            "SharedPasswordAuthenticator": {
                "user_password": USER_PASSWORD,
                "admin_password": ADMIN_PASSWORD,
                "admin_users": {"admin"},
                "allow_all": True,
            }
        },
    )


def test_native() -> None:
    config = configure("native", admins=["Ada"], allowed_users=["bob"], blocked_users=["eve"])
    assert config.authenticator_class == "spawner.signin.accounts.AccountsAuthenticator"
    assert config.traits == {
        "AccountsAuthenticator": {
            "allow_all": True,
            "allowed_users": {"bob"},
            "blocked_users": {"eve"},
            "admin_users": {"ada"},
            "first_admin_password": ADMIN_PASSWORD,
            "enable_signup": True,
            "open_signup": False,
            "minimum_password_length": 10,
            "check_common_password": True,
            "allowed_failed_logins": 5,
            "seconds_before_next_try": 60,
        }
    }
    assert [(Path(path) / "authorization-area.html").is_file() for path in config.template_paths] == [False, True]
    assert config.template_vars == {"accounts": True}


@pytest.mark.parametrize(
    ("sign_up", "enabled", "opened"), [("approval", True, False), ("open", True, True), ("closed", False, False)]
)
def test_native_sign_up(sign_up: str, enabled: bool, opened: bool) -> None:
    traits = configure("native", admins=["ada"], sign_up=sign_up).traits["AccountsAuthenticator"]
    assert (traits["enable_signup"], traits["open_signup"]) == (enabled, opened)


def test_github() -> None:
    config = configure(
        "github", organizations=["Lab"], allowed_groups=["Lab:ML"], admin_groups=["lab:ops"], admins=["Ada"]
    )
    assert config == AuthenticatorConfig(
        "oauthenticator.github.GitHubOAuthenticator",
        {
            "GitHubOAuthenticator": common("GitHub", admin_users={"ada"})
            | {
                "github_url": "https://github.com",
                "username_claim": "login",
                "scope": ["read:org"],
                "allowed_organizations": {"Lab"},
                "populate_teams_in_auth_state": True,
                "manage_groups": True,
                "auth_state_groups_key": GitHubTeams(),
                "allowed_groups": {"lab:ml"},
                "admin_groups": {"lab:ops"},
            }
        },
    )


def test_github_without_groups_asks_for_nothing_private() -> None:
    config = configure("github", allowed_users=["ada"], sync_groups=False, url="https://github.example.org/")
    assert config.traits["GitHubOAuthenticator"] == common("GitHub", allowed_users={"ada"}) | {
        "github_url": "https://github.example.org",
        "username_claim": "login",
        "scope": [],
        "allowed_organizations": set(),
        "populate_teams_in_auth_state": False,
        "manage_groups": False,
    }


def test_gitlab() -> None:
    config = configure("gitlab", url="https://git.example.org/", allowed_groups=["lab/ml"], blocked_users=["eve"])
    assert config == AuthenticatorConfig(
        "oauthenticator.generic.GenericOAuthenticator",
        {
            "GenericOAuthenticator": common("GitLab", blocked_users={"eve"})
            | {
                "authorize_url": "https://git.example.org/oauth/authorize",
                "token_url": "https://git.example.org/oauth/token",
                "userdata_url": "https://git.example.org/oauth/userinfo",
                "userdata_from_id_token": False,
                "userdata_token_method": "header",
                "scope": ["openid", "profile"],
                "username_claim": UserNameFrom("nickname"),
                "manage_groups": True,
                "auth_state_groups_key": GroupsFrom("oauth_user", "groups"),
                "allowed_groups": {"lab/ml"},
                "admin_groups": set(),
            }
        },
    )


def test_google() -> None:
    config = configure("google", allow_all=True, hosted_domains=["Lab.example.org", "a.example.org"])
    assert config == AuthenticatorConfig(
        "oauthenticator.google.GoogleOAuthenticator",
        {
            "GoogleOAuthenticator": common("Google", allow_all=True)
            | {
                "google_api_url": "https://www.googleapis.com",
                "scope": ["openid", "email"],
                "username_claim": "email",
                "hosted_domain": ["a.example.org", "lab.example.org"],
                "strip_domain": False,
                "manage_groups": False,
            }
        },
    )


def test_azuread() -> None:
    tenant = "3f2b8a4e-9d3e-4a53-8f5a-2f1f2f1b7d10"
    config = configure("azuread", tenant_id=tenant, admin_groups=["ops"], groups_claim="roles")
    assert config == AuthenticatorConfig(
        "oauthenticator.generic.GenericOAuthenticator",
        {
            "GenericOAuthenticator": common("Microsoft")
            | {
                "authorize_url": f"https://login.microsoftonline.com/{tenant}/oauth2/v2.0/authorize",
                "token_url": f"https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
                "userdata_url": "",
                "userdata_from_id_token": True,
                "scope": ["openid", "profile", "email"],
                "username_claim": UserNameFrom("preferred_username"),
                "manage_groups": True,
                "auth_state_groups_key": GroupsFrom("oauth_user", "roles"),
                "allowed_groups": set(),
                "admin_groups": {"ops"},
            }
        },
    )


ENDPOINTS = Endpoints("https://a.org/auth", "https://a.org/token", "https://a.org/me", basic_auth=True)


def test_oidc(tmp_path: Path) -> None:
    config = configure(
        "oidc",
        ENDPOINTS,
        tmp_path / "ca.pem",
        issuer="https://a.org",
        provider_name="Example University",
        username_claim="email",
        allowed_groups=["staff"],
        scopes=["openid", "email"],
    )
    assert config == AuthenticatorConfig(
        "oauthenticator.generic.GenericOAuthenticator",
        {
            "GenericOAuthenticator": common("Example University")
            | {
                "http_request_kwargs": {"ca_certs": str(tmp_path / "ca.pem")},
                "authorize_url": "https://a.org/auth",
                "token_url": "https://a.org/token",
                "userdata_url": "https://a.org/me",
                "userdata_from_id_token": False,
                "userdata_token_method": "header",
                "basic_auth": True,
                "scope": ["openid", "email"],
                "username_claim": UserNameFrom("email", require_verified_email=True),
                "manage_groups": True,
                "auth_state_groups_key": GroupsFrom("oauth_user", "groups"),
                "allowed_groups": {"staff"},
                "admin_groups": set(),
            }
        },
    )


LTI: dict[str, Any] = {
    "issuer": "https://moodle.example.org",
    "authorize_url": "https://moodle.example.org/mod/lti/auth.php",
    "jwks_url": "https://moodle.example.org/mod/lti/certs.php",
    "username_claim": "email",
}


def test_lti(certificate: Path) -> None:
    config = configure("lti", None, certificate, **LTI, more_client_ids=["b2"], admins=["Ada@a.org"], allow_all=True)
    assert config == AuthenticatorConfig(
        "spawner.signin.lti.LaunchAuthenticator",
        {
            "LaunchAuthenticator": {
                "login_service": "your learning platform",
                "issuer": "https://moodle.example.org",
                "authorize_url": "https://moodle.example.org/mod/lti/auth.php",
                "jwks_endpoint": "https://moodle.example.org/mod/lti/certs.php",
                "jwks_algorithms": ["RS256"],
                "client_id": {"Iv1.8a61f9b3", "b2"},
                "username_key": "email",
                "launch_url": "https://berth.example.org/hub/lti13/oauth_callback",
                "ca_bundle": str(certificate),
                "allow_all": True,
                "allow_existing_users": False,
                "allowed_users": set(),
                "blocked_users": set(),
                "admin_users": {"ada@a.org"},
                "manage_groups": False,
            }
        },
    )
    target = Config()
    config.apply(target)
    made: Any = LaunchAuthenticator(config=target)
    for trait, expected in config.traits["LaunchAuthenticator"].items():
        assert made.has_trait(trait)
        assert getattr(made, trait) == expected


def test_lti_with_a_placeholder() -> None:
    with pytest.raises(SignInMisconfigured, match=r"sign_in\.client_id: expected"):
        configure("lti", **LTI | {"client_id": "changeme"}, allow_all=True)


def test_a_launch_names_its_user() -> None:
    def name(key: str, **claims: Any) -> str:
        token = {"sub": "7", "email": "ann@a.org", CUSTOM: {"login": " ann ", "empty": ""}} | claims
        made: Any = LaunchAuthenticator(username_key=key, jwks_endpoint="https://a.org/keys")
        return str(made.get_username(token))

    assert name("email") == "ann@a.org"
    assert name("custom_login") == "ann"
    assert name("sub") == "7"
    # No number in place of a name.
    for key, claims in (("email", {"email": None}), ("custom_empty", {}), ("custom_login", {CUSTOM: "login"})):
        with pytest.raises(HTTPError, match=f"did not say your '{key}'"):
            name(key, **claims)


async def test_a_launch_is_believed_from_its_own_handler_only() -> None:
    made: Any = LaunchAuthenticator(username_key="email", jwks_endpoint="https://a.org/keys")
    assert await made.authenticate(object(), {"email": "root@a.org"}) is None


def test_a_platform_whose_keys_cannot_be_had_is_no_crash() -> None:
    from ltiauthenticator.lti13.error import TokenError

    from spawner.signin.lti import _Validator

    there = Platform("https://moodle.example.org")
    made: Any = LaunchAuthenticator(jwks_endpoint=f"http://127.0.0.1:{free_ports(1)[0]}/keys")
    token = there.sign(there.claims("ann@a.org"))
    with pytest.raises(TokenError, match="Fail to fetch data"):
        _Validator().verify_and_decode_jwt(token, there.issuer, {there.client_id}, made.keys, ["RS256"])


def test_oidc_with_what_the_id_token_says() -> None:
    asked = configure("oidc", ENDPOINTS, issuer="https://a.org", allow_all=True, claims_from="id_token")
    forced = configure("oidc", Endpoints("https://a", "https://b", None), issuer="https://a.org", allow_all=True)
    for config in (asked, forced):
        traits = config.traits["GenericOAuthenticator"]
        assert (traits["userdata_from_id_token"], traits["userdata_url"]) == (True, "")


def test_oidc_with_addresses_that_are_not_known() -> None:
    with pytest.raises(SignInMisconfigured):
        configure("oidc", issuer="https://a.org", allow_all=True)


def test_a_trusted_address_need_not_be_verified() -> None:
    config = configure(
        "oidc", ENDPOINTS, issuer="https://a.org", admins=["a@b.org"], username_claim="email",
        trust_unverified_email=True,
    )  # fmt: skip
    assert config.traits["GenericOAuthenticator"]["username_claim"] == UserNameFrom("email")


@pytest.mark.parametrize("method", ["github", "gitlab", "google", "azuread", "oidc"])
def test_a_placeholder_stops_every_provider(method: str) -> None:
    needed: dict[str, Any] = {"azuread": {"tenant_id": "a.org"}, "oidc": {"issuer": "https://a.org"}}.get(method, {})
    with pytest.raises(SignInMisconfigured, match=r"sign_in\.client_secret: expected"):
        configure(method, ENDPOINTS, allow_all=True, client_secret="changeme", **needed)


@pytest.mark.parametrize(
    ("method", "cls", "options"),
    [
        ("github", GitHubOAuthenticator, {"admin_groups": ["lab:ops"]}),
        ("gitlab", GenericOAuthenticator, {"admin_groups": ["ops"]}),
        ("google", GoogleOAuthenticator, {"admins": ["ada@a.org"], "hosted_domains": ["a.org"]}),
        ("azuread", GenericOAuthenticator, {"admin_groups": ["ops"], "tenant_id": "a.org"}),
        ("oidc", GenericOAuthenticator, {"admin_groups": ["ops"], "issuer": "https://a.org"}),
        ("oidc", GenericOAuthenticator, {"admins": ["a"], "issuer": "https://a.org", "claims_from": "id_token"}),
    ],
)
def test_the_real_authenticator_takes_every_trait(
    method: str, cls: Any, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What stands in the environment must not change who gets in.
    for name, value in {
        "OAUTH_TLS_VERIFY": "0",
        "OAUTH_CLIENT_SECRET": "wrong",
        "GITHUB_URL": "https://wrong.org",
        "GOOGLE_API_URL": "https://wrong.org",
        "HOSTED_DOMAIN": "wrong.org",
        "LOGIN_SERVICE": "wrong",
        "OAUTH2_USERDATA_URL": "https://wrong.org",
        "OAUTH2_TOKEN_URL": "https://wrong.org",
        "OAUTH2_AUTHORIZE_URL": "https://wrong.org",
    }.items():
        monkeypatch.setenv(name, value)
    wanted = configure(method, ENDPOINTS, None, **options)
    config = Config()
    wanted.apply(config)
    assert config.JupyterHub.authenticator_class == wanted.authenticator_class == f"{cls.__module__}.{cls.__name__}"
    made = cls(config=config)
    for trait, expected in wanted.traits[cls.__name__].items():
        assert made.has_trait(trait)
        assert getattr(made, trait) == expected
    for name in ("authorize_url", "token_url", "userdata_url", "login_service"):
        assert "wrong" not in getattr(made, name)


def test_nothing_secret_is_printed() -> None:
    for config in (
        configure("demo"),
        configure("native", admins=["a"]),
        configure("oidc", ENDPOINTS, issuer="https://a.org", allow_all=True),
    ):
        target = Config()
        config.apply(target)
        for secret in (SECRET, USER_PASSWORD, ADMIN_PASSWORD):
            assert secret not in f"{config} {config!r} {target} {target!r}"


def test_templates_come_after_those_that_are_there() -> None:
    config = Config()
    config.JupyterHub.template_paths = ["/ours"]
    config.JupyterHub.template_vars = {"ours": 1}
    native = configure("native", admins=["a"])
    native.apply(config)
    assert config.JupyterHub.template_paths == ["/ours", *native.template_paths]
    assert config.JupyterHub.template_vars == {"ours": 1, "accounts": True}


def test_the_page_for_who_is_not_let_in_is_there() -> None:
    assert [sorted(path.name for path in Path(each).iterdir()) for each in configure("demo").template_paths] == [
        ["error.html"]
    ]
