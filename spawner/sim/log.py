"""What happened, as plain rows: all figures and checks are made of these, none of the pool."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from ..policy.leases import Reservation
from .scenario import Demand


class Outcome(StrEnum):
    """What became of a demand."""

    SERVED = "served"
    GAVE_UP = "gave_up"
    LEFT = "left"
    DENIED = "denied"
    WAITING = "waiting"


@dataclass(slots=True)
class Asked:
    """A demand's way to its GPUs.

    Attributes
    ----------
    until
        When it was served, given up, or denied; the end of the simulation if it still waits.
    blocked
        Whether its user's own quota was ever what it waited for.
    code
        Of the refusal.
    """

    demand: Demand
    at: datetime
    until: datetime
    outcome: Outcome
    blocked: bool = False
    code: str = ""


@dataclass(slots=True)
class Hold:
    """Slots that a lease held.

    Attributes
    ----------
    started_at, ended_at
        Of the server's time, which is booked; None if it never ran.
    worked_until
        When the work was done, or its server's end if that came first.
    why
        The server ended.
    until
        When the slots were free again; the end of the simulation if they are held still.
    """

    lease: str
    demand: Demand
    slots: tuple[str, ...]
    since: datetime
    until: datetime
    started_at: datetime | None = None
    worked_until: datetime | None = None
    ended_at: datetime | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Down:
    """A slot that could not be leased for a time."""

    slot: str
    since: datetime
    until: datetime


@dataclass
class Log:
    """All rows of one run.

    Attributes
    ----------
    reservations
        As they were at their start.
    refused
        Seats that teachers asked for and did not get.
    mismatches
        Sums kept up that differed from the policy's own.
    extensions
        Answers to requests for more time, by code; ``extended`` where it was given.
    """

    asked: list[Asked] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    downs: list[Down] = field(default_factory=list)
    reservations: list[Reservation] = field(default_factory=list)
    refused: int = 0
    shortened: int = 0
    lapsed_offers: int = 0
    mismatches: int = 0
    extensions: Counter[str] = field(default_factory=Counter)
    events: int = 0
