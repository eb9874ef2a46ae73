"""The settings of signing in, and what of them goes together."""

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

Method = Literal["demo", "native", "github", "gitlab", "google", "azuread", "oidc", "lti"]

PROVIDERS = frozenset({"github", "gitlab", "google", "azuread", "oidc"})  # with a client secret
REGISTERED = PROVIDERS | {"lti"}  # with a client id
_EVERYWHERE_BUT_DEMO = REGISTERED | {"native"}
_WITH_GROUPS = PROVIDERS - {"google"}

# Which methods an option belongs to.
METHODS: dict[str, frozenset[str]] = {
    "allow_all": REGISTERED,
    "allowed_users": _EVERYWHERE_BUT_DEMO,
    "allowed_groups": _WITH_GROUPS,
    "blocked_users": _EVERYWHERE_BUT_DEMO,
    "admins": _EVERYWHERE_BUT_DEMO,
    "admin_groups": _WITH_GROUPS,
    "sync_groups": _WITH_GROUPS,
    "client_id": REGISTERED,
    "client_secret": PROVIDERS,
    "client_secret_file": PROVIDERS,
    "provider_name": REGISTERED,
    "scopes": frozenset({"azuread", "oidc"}),
    "issuer": frozenset({"oidc", "lti"}),
    "authorize_url": frozenset({"oidc", "lti"}),
    "token_url": frozenset({"oidc"}),
    "userinfo_url": frozenset({"oidc"}),
    "claims_from": frozenset({"oidc"}),
    "username_claim": frozenset({"azuread", "oidc", "lti"}),
    "groups_claim": frozenset({"azuread", "oidc"}),
    "trust_unverified_email": frozenset({"oidc"}),
    "url": frozenset({"github", "gitlab"}),
    "organizations": frozenset({"github"}),
    "hosted_domains": frozenset({"google"}),
    "tenant_id": frozenset({"azuread"}),
    "sign_up": frozenset({"native"}),
    "jwks_url": frozenset({"lti"}),
    "more_client_ids": frozenset({"lti"}),
    "courses": frozenset({"lti"}),
    "staff_by_parameter": frozenset({"lti"}),
}


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is certainly this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def safe_address(address: str) -> str:
    """Accept ``https://...``, and ``http://`` on this machine only: tokens and the client secret travel there.

    Raises
    ------
    ValueError
        If it is another kind of address.
    """
    parts = urlsplit(address)
    host = parts.hostname or ""
    if not host or parts.username or parts.fragment:
        raise ValueError("an address such as https://login.example.org")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ValueError("an address with https://, since tokens and secrets travel there")
    return address


def _tenant(tenant: str) -> str:
    # With these, any tenant in the world could assert any user name.
    if tenant.lower() in {"common", "organizations", "consumers"}:
        raise ValueError("your own tenant's id or domain; with this one, anybody's tenant could sign in")
    if not re.fullmatch(r"[0-9A-Za-z](?:[0-9A-Za-z.-]*[0-9A-Za-z])?", tenant):
        raise ValueError("the tenant's id (a GUID) or domain")
    return tenant


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Address = Annotated[Text, AfterValidator(safe_address)]
# JupyterHub lowers the names of users before it compares them.
UserName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, to_lower=True)]
Domain = Annotated[
    str,
    StringConstraints(strip_whitespace=True, to_lower=True, pattern=r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$"),
]
Organization = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$")]


class SignIn(BaseModel):
    """How people sign in, and who may.

    An option that does not belong to the method is an error. Nobody may sign in whom no option lets in.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    method: Method = Field(
        "demo",
        description="`demo`: one generated password for everyone, on this machine only. "
        "`native`: people sign up here with a password, and an admin lets them in. "
        "`lti`: people come from a learning platform, by an LTI 1.3 launch. "
        "The others: people sign in at that provider; `oidc` is any OpenID Connect provider, such as Keycloak.",
    )

    allow_all: bool = Field(
        False,
        description="Let in everyone whom the provider lets in. At github.com, gitlab.com and Google without "
        "`hosted_domains` this is the whole world. (All providers.)",
    )
    allowed_users: frozenset[UserName] = Field(
        frozenset(),
        description="Users to let in, by their name on the hub. With `native`: names whose sign-up needs no admin. "
        "(All but `demo`.)",
    )
    allowed_groups: frozenset[Text] = Field(
        frozenset(),
        description="Groups whose members to let in; see `sync_groups`. (All providers but `google` and `lti`.)",
    )
    blocked_users: frozenset[UserName] = Field(
        frozenset(), description="Users to keep out, whatever else lets them in. (All but `demo`.)"
    )
    admins: frozenset[UserName] = Field(
        frozenset(), description="Users who are let in and administer the hub. (All but `demo`.)"
    )
    admin_groups: frozenset[Text] = Field(
        frozenset(),
        description="Groups whose members are let in and administer the hub; who leaves them is no admin at the "
        "next sign-in. (All providers but `google` and `lti`.)",
    )
    sync_groups: bool = Field(
        True,
        description="Whether the provider says who is in which of the hub's groups: GitHub's teams, as "
        "`organization:team`; GitLab's groups, by path; elsewhere the claim `groups_claim`. "
        "If false, admins keep the groups on the hub. (All providers but `google` and `lti`.)",
    )

    client_id: Text | None = Field(
        None, description="Client id under which the hub is registered at the provider. (All providers.)"
    )
    client_secret: SecretStr | None = Field(
        None, description="Client secret; better in the environment or a file than here. (All providers but `lti`.)"
    )
    client_secret_file: Path | None = Field(
        None, description="File that holds the client secret and nothing else. (All providers but `lti`.)"
    )
    provider_name: Text | None = Field(
        None,
        description='Name of the provider on the button "Sign in with ...". (All providers.)',
        examples=["Example University"],
    )

    issuer: Address | None = Field(
        None,
        description="Address of the provider; what else the hub needs is read from "
        "`/.well-known/openid-configuration` under it when the hub starts. With `lti`: what the platform calls itself, "
        "letter by letter. (`oidc`, `lti`.)",
        examples=["https://keycloak.example.org/realms/science"],
    )
    authorize_url: Address | None = Field(
        None,
        description="Where people sign in, for a provider without discovery, instead of `issuer`. With `lti`: the "
        "platform's authentication request URL. (`oidc`, `lti`.)",
    )
    token_url: Address | None = Field(
        None, description="Where the hub fetches tokens, for a provider without discovery. (`oidc`.)"
    )
    userinfo_url: Address | None = Field(
        None, description="Where the hub asks who a user is, for a provider without discovery. (`oidc`.)"
    )
    claims_from: Literal["userinfo", "id_token"] = Field(
        "userinfo", description="Where the provider puts name and groups of a user. (`oidc`.)"
    )
    scopes: tuple[Text, ...] = Field(
        ("openid", "profile", "email"), description="Scopes to ask for. (`oidc`, `azuread`.)"
    )
    username_claim: Text = Field(
        "preferred_username",
        description="Claim that becomes the user's name on the hub, in lower case. Take one that people cannot "
        "change themselves. With `lti` it has to be said; `custom_NAME` is a custom parameter of the launch. "
        "(`oidc`, `azuread`, `lti`.)",
    )
    groups_claim: Text = Field(
        "groups",
        description="Claim that lists the user's groups; dots lead into objects. (`oidc`, `azuread`.)",
        examples=["realm_access.roles"],
    )
    trust_unverified_email: bool = Field(
        False,
        description="With `username_claim: email`, whether to accept addresses that the provider does not call "
        "verified. Whoever can set their address there can then be anyone here. (`oidc`.)",
    )

    url: Address | None = Field(
        None, description="Address of your own GitHub Enterprise or GitLab server. (`github`, `gitlab`.)"
    )
    organizations: frozenset[Organization] = Field(
        frozenset(), description="Organizations whose members to let in. (`github`.)"
    )
    hosted_domains: frozenset[Domain] = Field(
        frozenset(),
        description="Google Workspace domains; accounts of others are kept out. It lets nobody in by itself. "
        "(`google`.)",
    )
    tenant_id: Annotated[Text, AfterValidator(_tenant)] | None = Field(
        None, description="Id or domain of your tenant. (`azuread`.)"
    )
    sign_up: Literal["approval", "open", "closed"] = Field(
        "approval",
        description="Who may make an account: `approval`: everyone, but an admin must approve it; "
        "`open`: everyone; `closed`: nobody any more. (`native`.)",
    )
    jwks_url: Address | None = Field(
        None, description="Where the learning platform publishes the keys that it signs launches with. (`lti`.)"
    )
    more_client_ids: frozenset[Text] = Field(
        frozenset(),
        description="Further client ids, where the platform has registered the hub more than once. (`lti`.)",
    )
    courses: dict[Text, Text] = Field(
        {},
        description="Courses here by the platform's id of its own (the context of a launch). It goes before the custom "
        "parameter `berth_course`. (`lti`.)",
        examples=[{"4f5a1c": "ml"}],
    )
    staff_by_parameter: bool = Field(
        False,
        description="Whether the custom parameter `berth_course` is enough to make instructors and assistants staff of "
        "that course. Only where teachers cannot set parameters at the platform themselves: they could name any "
        "course. (`lti`.)",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        details: list[InitErrorDetails] = [
            {
                "type": PydanticCustomError("sign_in", "{message}", {"message": message}),
                "loc": (key,),
                # The value says nothing more, and might be a secret.
                "input": {},
            }
            for key, message in (*self._misplaced(), *self._missing())
        ]
        if details:
            raise ValidationError.from_exception_data("SignIn", details, hide_input=True)
        return self

    def _misplaced(self) -> Iterator[tuple[str, str]]:
        for key in sorted(self.model_fields_set):
            methods = METHODS.get(key)
            if methods is not None and self.method not in methods:
                yield key, f"an option of {_listed(methods)}; sign_in.method is {self.method}"
        if self.client_secret is not None and self.client_secret_file is not None:
            yield "client_secret_file", "set client_secret or client_secret_file, not both"
        if self.method == "oidc" and self.issuer and (self.authorize_url or self.token_url or self.userinfo_url):
            yield "issuer", "set issuer, or authorize_url with token_url and userinfo_url, not both"
        if self.userinfo_url and self.claims_from == "id_token":
            yield "userinfo_url", "not used with claims_from: id_token; remove one of them"
        if not self.sync_groups and self.method in _WITH_GROUPS:
            for key in ("allowed_groups", "admin_groups"):
                if getattr(self, key):
                    yield key, "needs sync_groups: true, since the provider must say who is in these groups"

    def _missing(self) -> Iterator[tuple[str, str]]:
        if self.method in REGISTERED and self.client_id is None:
            yield "client_id", "expected the client id under which the hub is registered at the provider"
        if self.method == "azuread" and self.tenant_id is None:
            yield "tenant_id", "expected the id or domain of your tenant"
        if self.method == "oidc" and self.issuer is None:
            explicit = [self.authorize_url, self.token_url]
            if self.claims_from == "userinfo":
                explicit.append(self.userinfo_url)
            if not any(explicit):
                yield "issuer", "expected the provider's address, such as https://login.example.org"
            elif not all(explicit):
                yield "authorize_url", "without issuer, set all of authorize_url, token_url and userinfo_url"
        if self.method == "lti":
            for key, what in _OF_PLATFORM.items():
                if key not in self.model_fields_set or not getattr(self, key):
                    yield key, f"expected {what}"
        if self.method in REGISTERED and not self._lets_someone_in():
            ways = [key for key, methods in METHODS.items() if key in _ALLOW_RULES and self.method in methods]
            yield "method", f"nobody could sign in; say who may, with {_listed(ways, 'or')}"
        if self.method == "native" and not self.admins and self.sign_up != "open":
            yield "admins", "expected at least one user name: without an admin, nobody could let people in"

    def _lets_someone_in(self) -> bool:
        return any(getattr(self, key) for key in _ALLOW_RULES)

    def resolved(self, base: Path) -> Self:
        """Make the paths absolute; relative ones count from `base`."""
        if self.client_secret_file is None:
            return self
        path = (base / self.client_secret_file.expanduser()).resolve()
        return self.model_copy(update={"client_secret_file": path})


_OF_PLATFORM = {
    "issuer": "what the learning platform calls itself, such as https://moodle.example.org",
    "authorize_url": "the learning platform's authentication request URL",
    "jwks_url": "where the learning platform publishes its keys (public keyset URL)",
    "username_claim": "what of a launch becomes the user's name on the hub, such as email",
}
_ALLOW_RULES = ("allow_all", "allowed_users", "allowed_groups", "organizations", "admins", "admin_groups")


def _listed(words: frozenset[str] | list[str], joint: str = "and") -> str:
    """Join words as people do, in the order of the settings."""
    order = list(Method.__args__)  # type: ignore[attr-defined]
    ordered = sorted(words, key=order.index) if isinstance(words, frozenset) else words
    return ordered[0] if len(ordered) == 1 else f"{', '.join(ordered[:-1])} {joint} {ordered[-1]}"
