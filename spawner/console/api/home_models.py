"""Users' homes as the API says them."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Path
from pydantic import BaseModel, Field

from ...operations.homes import HomesOverview
from ...policy.homes import Home, HomeState, possible
from ..etags import etag_of
from .lease_models import Why

Volume = Annotated[str, Path(max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="Of the home.")]
Wish = Literal["archive", "restore", "delete", "cancel"]


class HomeRow(BaseModel):
    """A user's home."""

    volume: str = Field(description="Name of its volume; the home's id, also while there is none.")
    owner: str
    state: HomeState = Field(description="Where it is, or where it is going.")
    state_since: datetime
    in_use: bool = Field(description="Whether a server ran with it at the janitor's last look.")
    last_used_at: datetime | None
    bytes: int | None = Field(description="On the disk, in the volume; null before it is measured.")
    measured_at: datetime | None
    owner_gone_at: datetime | None = Field(description="Since when the hub does not know its owner.")
    asked_at: datetime | None = Field(description="The last wish: when, by whom, why.")
    asked_by: str
    why: str
    delete_at: datetime | None = Field(description="When it is deleted at the earliest.")
    done_bytes: int = Field(description="How far the wish is carried out.")
    to_do_bytes: int | None = Field(description="How far there is to go; null where nobody knows.")
    archive: str = Field(description="Name of the archive's file; empty while the files are in the volume.")
    archive_bytes: int | None
    archived_at: datetime | None
    sha256: str = Field(description="Of the archive.")
    error: str = Field(description="Why the last wish came to nothing, or waits.")
    wishes: list[Wish] = Field(description="What can be wished for it now.")


class HomesSum(BaseModel):
    """How many homes are in a state, and what they take."""

    state: HomeState
    count: int
    bytes: int = Field(description="In volumes, as measured last.")
    archive_bytes: int


class HomesSummary(BaseModel):
    """All homes in numbers."""

    count: int = Field(description="Of homes that there are, archived ones among them.")
    bytes: int = Field(description="In volumes.")
    archive_bytes: int = Field(description="In archives.")
    states: list[HomesSum]


class Reason(BaseModel):
    """Why something is wished."""

    why: Why


class Deletion(BaseModel):
    """Why a home is to be deleted, and when."""

    why: Why
    grace_days: int | None = Field(
        None, ge=0, le=3660, description="Days until then; null for the setting `homes.grace_days`, 0 for at once."
    )


def home_version(home: Home) -> str:
    """Give the ETag of a home: another one after each wish and each change of its state."""
    return etag_of([home.volume, home.version])


def home_row(home: Home, now: datetime) -> HomeRow:
    return HomeRow(
        volume=home.volume,
        owner=home.owner,
        state=home.state,
        state_since=home.state_since,
        in_use=home.in_use,
        last_used_at=home.last_used_at,
        bytes=home.size,
        measured_at=home.measured_at,
        owner_gone_at=home.owner_gone_at,
        asked_at=home.asked_at,
        asked_by=home.asked_by,
        why=home.why,
        delete_at=home.delete_at,
        done_bytes=home.done,
        to_do_bytes=home.to_do,
        archive=home.archive if home.archived else "",
        archive_bytes=home.archive_size,
        archived_at=home.archived_at,
        sha256=home.sha256,
        error=home.error,
        wishes=[*possible(home, now)],
    )


def summary(found: HomesOverview) -> HomesSummary:
    return HomesSummary(
        count=found.count,
        bytes=found.size,
        archive_bytes=found.archive_size,
        states=[
            HomesSum(state=one.state, count=one.count, bytes=one.size, archive_bytes=one.archive_size)
            for one in sorted(found.sums.values(), key=lambda one: [*HomeState].index(one.state))
        ],
    )
