"""What staff send to seats and take from them: messages, files, collections of work."""

import enum
from dataclasses import dataclass
from datetime import datetime


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
