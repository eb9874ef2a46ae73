"""What the API and the pages of quotas both do: from what people say to what operations take."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ..errors import HubNotReady, HubRefused, QuotaInvalid
from ..operations.quotas import make_grant
from ..operations.times import parse_time
from ..policy.model import Person
from ..policy.quota import QUOTA_DIMENSIONS, QuotaGrant, Subject
from .context import Console
from .problems import Problem


@dataclass(frozen=True, slots=True)
class Directory:
    """Who there is.

    Attributes
    ----------
    known
        Whether the hub has told; without it all works but what is about people.
    """

    people: Sequence[Person]
    known: bool = True


def directory(here: Console) -> Directory:
    """Ask the hub who there is."""
    try:
        return Directory(here.people.persons())
    except (HubNotReady, HubRefused):
        return Directory((), known=False)


def person_of(here: Console, name: str) -> Person | None:
    """Give a user that the hub knows."""
    return next((person for person in directory(here).people if person.name == name), None)


def grant_of(
    here: Console, subject: str, name: str, dimension: str, value: object, until: datetime | None, by: str, why: str
) -> QuotaGrant:
    """Check and build a grant.

    Raises
    ------
    QuotaInvalid
    """
    try:
        end = parse_time(until.isoformat()) if until is not None else None
    except ValueError as error:
        raise QuotaInvalid(f"until must be {error}.") from None
    return make_grant(subject, name, dimension, value, end, by, " ".join(why.split()), here.clock())


def check_key(subject: str, name: str, dimension: str) -> Subject:
    """Check that a value of this kind can be set at all.

    Raises
    ------
    Problem
        404
    """
    named = subject in list(Subject) and (subject == Subject.DEFAULT) == (name == "") and name.isprintable()
    if not named or dimension not in QUOTA_DIMENSIONS:
        raise Problem(404, "unknown_name", f"There is no quota {dimension!r} of {f'{subject} {name}'.strip()!r}.")
    return Subject(subject)
