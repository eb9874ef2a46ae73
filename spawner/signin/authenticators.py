"""From the settings to JupyterHub's authenticator: its class and its traits.

OAuthenticator takes many of its defaults from the environment. What decides who gets in or whom the hub trusts is
therefore always set here, even to its default.
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import SignInMisconfigured
from .claims import GitHubTeams, GroupsFrom, UserNameFrom
from .credentials import Hidden, client_credentials, client_id
from .discovery import Endpoints
from .model import SignIn

Traits = dict[str, object]

# What the demo's administrator is called.
DEMO_ADMIN = "admin"

# A page for whom is not let in.
TEMPLATES = str(Path(__file__).parent / "templates")

_NAMES = {
    "github": "GitHub",
    "gitlab": "GitLab",
    "google": "Google",
    "azuread": "Microsoft",
    "oidc": "OpenID Connect",
}
_GENERIC = "oauthenticator.generic.GenericOAuthenticator"
_MICROSOFT = "https://login.microsoftonline.com"


@dataclass(frozen=True, slots=True)
class AuthenticatorConfig:
    """What to put into JupyterHub's configuration.

    Attributes
    ----------
    authenticator_class
        Import path.
    traits
        Values by section (class name) and trait. There are secrets among them, so it is not printed.
    template_paths
        Directories of page templates that belong to it; they go behind those that are there.
    template_vars
        Further names in page templates. ``accounts`` is true where people have passwords here, which the pages
        ``change-password`` and, for admins, ``authorize`` are for.
    """

    authenticator_class: str
    traits: Mapping[str, Traits] = field(repr=False)
    template_paths: tuple[str, ...] = (TEMPLATES,)
    template_vars: Mapping[str, object] = field(default_factory=lambda: {"accounts": False})

    def apply(self, config: Any) -> None:
        """Set all of it in a ``traitlets`` configuration, the ``c`` of ``jupyterhub_config.py``."""
        config.JupyterHub.authenticator_class = self.authenticator_class
        for section, traits in self.traits.items():
            target: MutableMapping[str, object] = config[section]
            target.update(traits)
        hub = config.JupyterHub
        hub.template_paths = [*(hub.get("template_paths") or []), *self.template_paths]
        hub.template_vars = {**(hub.get("template_vars") or {}), **self.template_vars}


def authenticator_config(
    sign_in: SignIn,
    *,
    callback_url: str,
    user_password: str,
    admin_password: str,
    endpoints: Endpoints | None = None,
    ca_bundle: Path | None = None,
) -> AuthenticatorConfig:
    """Say which authenticator the settings mean, and how to configure it. Reads the secret's file, no more.

    Parameters
    ----------
    callback_url
        Address to which providers send people back, ``https://.../hub/oauth_callback``; registered there.
    user_password, admin_password
        Generated passwords: of the demo, and of the first sign-in of `native`'s admins.
    endpoints
        From `spawner.signin.endpoints`; needed for `oidc`.
    ca_bundle
        Certificate authorities to trust, the usual ones included; None for the system's.

    Raises
    ------
    SignInMisconfigured
        If a client's id or secret is missing or a placeholder.
    """
    match sign_in.method:
        case "demo":
            return _demo(user_password, admin_password)
        case "native":
            return _native(sign_in, admin_password)
        case "lti":
            return _lti(sign_in, callback_url, ca_bundle)
        case "github":
            special = _github(sign_in)
        case "gitlab":
            special = _gitlab(sign_in)
        case "google":
            special = _google(sign_in)
        case "azuread":
            special = _azuread(sign_in)
        case "oidc":
            if endpoints is None:
                raise SignInMisconfigured("sign_in.issuer: the provider's addresses are not known.")
            special = _oidc(sign_in, endpoints)
    path, traits = special
    common = _common(sign_in, callback_url, ca_bundle)
    return AuthenticatorConfig(path, {path.rsplit(".", 1)[1]: common | _groups(sign_in, path) | traits})


def _demo(user_password: str, admin_password: str) -> AuthenticatorConfig:
    return AuthenticatorConfig(
        "jupyterhub.authenticators.shared.SharedPasswordAuthenticator",
        {
            "SharedPasswordAuthenticator": {
                "user_password": Hidden(user_password),
                "admin_password": Hidden(admin_password),
                "admin_users": {DEMO_ADMIN},
                "allow_all": True,
            }
        },
    )


def _native(sign_in: SignIn, admin_password: str) -> AuthenticatorConfig:
    from .accounts import template_path  # brings SQLAlchemy and bcrypt with it, which only this method needs

    return AuthenticatorConfig(
        "spawner.signin.accounts.AccountsAuthenticator",
        {
            "AccountsAuthenticator": {
                # Who may sign in is written in each account; the hub's own gate is open behind that one.
                "allow_all": True,
                "allowed_users": set(sign_in.allowed_users),
                "blocked_users": set(sign_in.blocked_users),
                "admin_users": set(sign_in.admins),
                "first_admin_password": Hidden(admin_password),
                "enable_signup": sign_in.sign_up != "closed",
                "open_signup": sign_in.sign_up == "open",
                "minimum_password_length": 10,
                "check_common_password": True,
                "allowed_failed_logins": 5,
                "seconds_before_next_try": 60,
            }
        },
        (TEMPLATES, template_path()),
        {"accounts": True},
    )


def _lti(sign_in: SignIn, callback_url: str, ca_bundle: Path | None) -> AuthenticatorConfig:
    return AuthenticatorConfig(
        "spawner.signin.lti.LaunchAuthenticator",
        {
            "LaunchAuthenticator": {
                "login_service": sign_in.provider_name or "your learning platform",
                "issuer": sign_in.issuer,
                "authorize_url": sign_in.authorize_url,
                "jwks_endpoint": sign_in.jwks_url,
                "jwks_algorithms": ["RS256"],
                "client_id": {client_id(sign_in), *sign_in.more_client_ids},
                "username_key": sign_in.username_claim,
                "launch_url": f"{callback_url.rsplit('/', 1)[0]}/lti13/oauth_callback",
                "ca_bundle": str(ca_bundle) if ca_bundle else "",
                "allow_all": sign_in.allow_all,
                "allow_existing_users": False,
                "allowed_users": set(sign_in.allowed_users),
                "blocked_users": set(sign_in.blocked_users),
                "admin_users": set(sign_in.admins),
                "manage_groups": False,
            }
        },
    )


def _common(sign_in: SignIn, callback_url: str, ca_bundle: Path | None) -> Traits:
    client_id, client_secret = client_credentials(sign_in)
    provider = sign_in.provider_name or _NAMES[sign_in.method]
    return {
        "login_service": provider,
        "client_id": client_id,
        "client_secret": Hidden(client_secret),
        "oauth_callback_url": callback_url,
        "enable_pkce": True,
        "basic_auth": False,
        "validate_server_cert": True,
        "http_request_kwargs": {"ca_certs": str(ca_bundle)} if ca_bundle else {},
        "allow_all": sign_in.allow_all,
        "allow_existing_users": False,
        "allowed_users": set(sign_in.allowed_users),
        "blocked_users": set(sign_in.blocked_users),
        "admin_users": set(sign_in.admins),
        "custom_403_message": (
            f"{provider} knows you, but your account may not use this hub. "
            "Ask the hub's administrator to let you in, or sign out there and come back with another account."
        ),
    }


def _groups(sign_in: SignIn, path: str) -> Traits:
    if sign_in.method == "google" or not sign_in.sync_groups:
        return {"manage_groups": False}
    if sign_in.method == "github":
        source: GitHubTeams | GroupsFrom = GitHubTeams()
        allowed, admins = ({name.lower() for name in names} for names in (sign_in.allowed_groups, sign_in.admin_groups))
    else:
        # GenericOAuthenticator.user_auth_state_key
        assert path == _GENERIC  # noqa: S101
        source = GroupsFrom("oauth_user", "groups" if sign_in.method == "gitlab" else sign_in.groups_claim)
        allowed, admins = set(sign_in.allowed_groups), set(sign_in.admin_groups)
    return {
        "manage_groups": True,
        "auth_state_groups_key": source,
        "allowed_groups": allowed,
        "admin_groups": admins,
    }


def _github(sign_in: SignIn) -> tuple[str, Traits]:
    # Without read:org, GitHub tells of public memberships only.
    private = sign_in.sync_groups or sign_in.organizations
    return "oauthenticator.github.GitHubOAuthenticator", {
        "github_url": (sign_in.url or "https://github.com").rstrip("/"),
        "username_claim": "login",
        "scope": ["read:org"] if private else [],
        "allowed_organizations": set(sign_in.organizations),
        "populate_teams_in_auth_state": sign_in.sync_groups,
    }


def _gitlab(sign_in: SignIn) -> tuple[str, Traits]:
    # GitLab's OpenID Connect side tells name and groups in one answer, for the scope that says the least.
    # OAuthenticator's class for GitLab asks for each allowed group with a wider scope, and syncs none.
    url = (sign_in.url or "https://gitlab.com").rstrip("/")
    return _GENERIC, {
        "authorize_url": f"{url}/oauth/authorize",
        "token_url": f"{url}/oauth/token",
        "userdata_url": f"{url}/oauth/userinfo",
        "userdata_from_id_token": False,
        "userdata_token_method": "header",
        "scope": ["openid", "profile"],
        "username_claim": UserNameFrom("nickname"),
    }


def _google(sign_in: SignIn) -> tuple[str, Traits]:
    return "oauthenticator.google.GoogleOAuthenticator", {
        "google_api_url": "https://www.googleapis.com",
        "scope": ["openid", "email"],
        "username_claim": "email",
        "hosted_domain": sorted(sign_in.hosted_domains),
        # The default strips the domain while there is one, and renames everyone when a second is added.
        "strip_domain": False,
    }


def _azuread(sign_in: SignIn) -> tuple[str, Traits]:
    # Microsoft puts groups into the id token only. OAuthenticator's class for it uses the first version of the
    # endpoints, whose names of users are display names, and checks neither audience nor expiry of the token.
    authority = f"{_MICROSOFT}/{sign_in.tenant_id}/oauth2/v2.0"
    return _GENERIC, {
        "authorize_url": f"{authority}/authorize",
        "token_url": f"{authority}/token",
        "userdata_url": "",
        "userdata_from_id_token": True,
        "scope": list(sign_in.scopes),
        "username_claim": UserNameFrom(sign_in.username_claim),
    }


def _oidc(sign_in: SignIn, endpoints: Endpoints) -> tuple[str, Traits]:
    from_token = sign_in.claims_from == "id_token" or endpoints.userinfo_url is None
    verified = sign_in.username_claim == "email" and not sign_in.trust_unverified_email
    return _GENERIC, {
        "authorize_url": endpoints.authorize_url,
        "token_url": endpoints.token_url,
        "userdata_url": "" if from_token else endpoints.userinfo_url,
        "userdata_from_id_token": from_token,
        "userdata_token_method": "header",
        "basic_auth": endpoints.basic_auth,
        "scope": list(sign_in.scopes),
        "username_claim": UserNameFrom(sign_in.username_claim, verified),
    }
