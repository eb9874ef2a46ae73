"""What staff send to seats and take from them: messages, files, collections of work."""

import enum
from dataclasses import dataclass
from datetime import datetime

from .model import Deny

_LONGEST_PATH = 1000  # bytes; homes are mounted, and Linux takes 4096 in all
_LONGEST_PART = 240  # bytes; 255 is what Linux takes, and a file beside another has a few more


class Kind(enum.StrEnum):
    """What a message to seats is about."""

    BROADCAST = "broadcast"  # of staff, to all seats
    PERSONAL = "personal"  # of staff, to one
    VISIT = "visit"  # staff have opened this seat
    NOTICE = "notice"  # of Berth, such as that the session ends


@dataclass(frozen=True, slots=True)
class Announcement:
    """A message to a session's seats, kept for who comes later.

    Attributes
    ----------
    user
        Whose seat it is for; empty for all.
    """

    id: str
    session: str
    kind: Kind
    text: str
    sent_by: str
    sent_at: datetime
    user: str = ""


@dataclass(frozen=True, slots=True)
class Push:
    """A file sent to the homes of all of a course.

    Attributes
    ----------
    path
        Where it goes, relative to the home.
    sha256
        Of its content, in hexadecimal digits; the content lies under this name.
    size
        Bytes.
    """

    id: str
    course: str
    session: str
    path: str
    sha256: str
    size: int
    pushed_by: str
    pushed_at: datetime


class Outcome(enum.StrEnum):
    """What became of a pushed file in a home."""

    WRITTEN = "written"
    SAME = "same"  # it was there already
    BESIDE = "beside"  # another file was there, and stays: the new one has a name of its own
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A pushed file in one home.

    Attributes
    ----------
    path
        Where it is in fact.
    """

    push: str
    user: str
    at: datetime
    outcome: Outcome
    path: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Collected:
    """One student's work as it was when it was collected.

    Attributes
    ----------
    folder
        Of the home; empty for all of it.
    archive
        Where it lies, relative to the course's staff area; empty where nothing could be taken.
    files, size
        How many, and bytes before packing.
    sha256
        Of the archive.
    problem
        Why there is less than all of it, or none.
    """

    id: str
    session: str
    user: str
    folder: str
    taken_at: datetime
    archive: str
    files: int
    size: int
    sha256: str
    problem: str = ""


def is_hidden(path: str) -> bool:
    """Tell whether a part of a path begins with a dot; such files can change what a home does."""
    return any(part.startswith(".") for part in path.split("/"))


def check_push_path(path: str, *, hidden: bool = False) -> Deny | None:
    """Find why a file cannot go to a path of a home; ``invalid_option``.

    Parameters
    ----------
    hidden
        Whether parts that begin with a dot are meant: such files can change what a home does.
    """
    parts = path.split("/")
    if not path or not path.isprintable() or "\\" in path:
        return Deny("invalid_option", "Say where the file goes in the home, such as week2/data.csv.")
    if path.startswith(("/", "~")) or any(part in {"", ".", ".."} for part in parts):
        return Deny("invalid_option", f"{path} does not lie in the home; say it like week2/data.csv.")
    if any(part != part.strip() for part in parts):
        return Deny("invalid_option", f"No part of {path!r} begins or ends with a space.")
    if not hidden and is_hidden(path):
        return Deny("invalid_option", f"{path} is hidden, and could change what the home does; say that it is meant.")
    if len(path.encode()) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_PART for part in parts):
        return Deny("invalid_option", f"The path {path[:40]}… is too long.")
    return None
