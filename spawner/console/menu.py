"""The links at the top of every page."""

from dataclasses import dataclass

from .callers import Caller
from .scopes import Scope


def N_(text: str) -> str:  # noqa: N802  gettext's usual name: marks a text that is translated where it is shown
    return text


@dataclass(frozen=True, slots=True)
class Link:
    """A page in the menu.

    Attributes
    ----------
    path
        Below the console's.
    scope
        Who has not this one does not see the link.
    """

    path: str
    title: str
    scope: Scope

    def is_at(self, here: str, prefix: str) -> bool:
        """Tell whether this link leads to where the reader is."""
        below = here.removeprefix(prefix)
        return below == self.path or (self.path != "" and below.startswith(f"{self.path}/"))


LINKS = [
    Link("", N_("Mine"), Scope.SELF_READ),
    Link("courses", N_("Classes"), Scope.SELF_READ),
    Link("calendar", N_("Calendar"), Scope.SELF_READ),
    Link("free", N_("What is free"), Scope.SELF_READ),
    Link("gpus", N_("GPUs"), Scope.READ),
    Link("leases", N_("Leases and queue"), Scope.READ),
    Link("quotas", N_("Quotas"), Scope.READ),
    Link("usage", N_("Use"), Scope.READ),
    Link("homes", N_("Homes"), Scope.READ),
    Link("audit", N_("Audit"), Scope.READ),
]


def links_for(caller: Caller) -> list[Link]:
    return [link for link in LINKS if caller.may(link.scope)]
