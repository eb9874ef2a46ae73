"""What a provider says about a user, made into the user's name and groups.

These are called by OAuthenticator with what the provider sent. They are values with equality, so that a whole
configuration can be compared to a literal one.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UserNameFrom:
    """Take the user's name from a claim, and refuse with a sentence where that cannot be trusted."""

    claim: str
    require_verified_email: bool = False

    def __call__(self, claims: Mapping[str, object]) -> str:
        name = claims.get(self.claim)
        if not isinstance(name, str) or not name.strip():
            there = ", ".join(sorted(claim for claim, value in claims.items() if value is not None)) or "nothing"
            raise _refusal(
                f"The sign-in provider did not say your {self.claim!r}, from which your user name here is made. "
                f"Tell the hub's administrator; the provider sent: {there}."
            )
        # Some providers send the words.
        if self.require_verified_email and claims.get("email_verified") not in (True, "true"):
            raise _refusal(
                "The sign-in provider has not verified your e-mail address, which is your user name here. "
                "Verify it there and sign in again, or ask the hub's administrator."
            )
        return name.strip()


@dataclass(frozen=True, slots=True)
class GroupsFrom:
    """Take the names of groups from a place in the authenticator's state.

    OAuthenticator's own reading by key would take a single group, sent as text, for a group per letter, and
    cannot reach claims whose name has dots in it.
    """

    section: str
    claim: str

    def __call__(self, state: Mapping[str, object]) -> set[str]:
        value = _find(state.get(self.section), self.claim)
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list | tuple | set | frozenset):
            return set()
        return {group.strip() for group in value if isinstance(group, str) and group.strip()}


@dataclass(frozen=True, slots=True)
class GitHubTeams:
    """Name GitHub's teams ``organization:team``, as they stand in their addresses, and organizations by name."""

    def __call__(self, state: Mapping[str, object]) -> set[str]:
        teams = state.get("teams")
        if not isinstance(teams, list):
            return set()
        return {f"{team['organization']['login']}:{team['slug']}".lower() for team in teams}


def _find(value: object, path: str) -> object:
    """Look a claim up by its whole name, else follow the dots into objects."""
    if not isinstance(value, Mapping):
        return None
    if path in value:
        return value[path]
    head, dot, rest = path.partition(".")
    while dot:
        found = _find(value.get(head), rest)
        if found is not None:
            return found
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    return None


def _refusal(message: str) -> Exception:
    # Only a hub that signs someone in needs tornado; whoever reads the settings does not.
    from tornado.web import HTTPError

    # The text may hold % from a claim's name, which HTTPError would take for a format.
    return HTTPError(403, "%s", message)
