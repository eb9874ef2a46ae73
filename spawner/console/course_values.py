"""What a course can be made of: what this deployment offers, and what of that which was typed cannot be."""

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from ..operations import inventory
from ..policy.admission import profiles_for
from ..policy.classes import Course, check_course
from ..policy.gpus import SlotKind
from ..policy.handouts import check_push_path
from ..policy.model import Person, Profile
from .callers import Caller
from .context import Console
from .course_access import is_admin
from .menu import N_

Words = Callable[[str], str]
"""Translates a text."""

TEXTS = ("title", "materials", "branch", "folder", "data", "collect", "group")
LONGEST = 200
MOST_GPUS, MOST_MEMORY = 16, 1 << 40
_BRANCH = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9._/-]*")
_ID_LENGTH = 30

_ONE_LINE = N_("This is one line of text, of 200 characters at most.")
_WRONG_PATH = N_("Name a folder of the home, such as week1 or course/notes; without a dot or a slash before it.")


@dataclass(frozen=True, slots=True)
class Offer:
    """What a course can have.

    Attributes
    ----------
    profiles
        Those that whoever asks may use.
    gpus
        Kinds of slots with their models, memory (bytes) and number.
    materials, data
        Names of directories that admins offer.
    """

    profiles: tuple[Profile, ...]
    gpus: tuple[tuple[SlotKind, str, int, int], ...]
    materials: tuple[str, ...]
    data: tuple[str, ...]

    @property
    def models(self) -> list[str]:
        return sorted({model for _, model, _, _ in self.gpus})

    @property
    def kinds(self) -> list[SlotKind]:
        there = {kind for kind, _, _, _ in self.gpus}
        return [kind for kind in SlotKind if kind in there]


def offer(here: Console, caller: Caller) -> Offer:
    """Tell what this deployment offers to somebody."""
    if is_admin(caller):
        profiles = here.catalogue
    else:
        with here.desk.ledger.reading() as books:
            rules = here.desk.quotas.rules(books, here.clock())
        profiles = tuple(profiles_for(here.catalogue, Person(caller.name, caller.groups), rules))
    slots: dict[tuple[SlotKind, str, int], int] = {}
    for slot in inventory.known_slots(here.desk).values():
        key = slot.kind, slot.model, slot.memory
        slots[key] = slots.get(key, 0) + 1
    order = list(SlotKind)
    gpus = sorted(((*key, count) for key, count in slots.items()), key=lambda one: (order.index(one[0]), one[1:]))
    classes = here.settings.classes
    return Offer(profiles, tuple(gpus), tuple(sorted(classes.materials)), tuple(sorted(classes.data_sets)))


def short_name(title: str) -> str:
    """Propose a short name for a title; empty where nothing of it can be in one."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-").lstrip("0123456789-")
    return slug[:_ID_LENGTH].rstrip("-")


def completed(course: Course) -> Course:
    """Fill in what follows from the rest: materials lie in a folder, a course without GPUs wants none of a kind."""
    if course.materials and not course.folder:
        course = replace(course, folder=course.id)
    if not course.materials:
        course = replace(course, branch="")
    if not course.gpus:
        course = replace(course, models=frozenset(), kinds=frozenset(), memory=0)
    return course


def mistakes(here: Console, found: Offer, course: Course, was: Course | None, _: Words) -> dict[str, str]:
    """Find what of a course cannot be, by the names of its fields.

    Parameters
    ----------
    was
        The course as it is; what does not change is not asked about again.
    """
    told: dict[str, str] = {}
    for name in TEXTS:
        text: str = getattr(course, name)
        if not text.isprintable() or len(text) > LONGEST:
            told[name] = _(_ONE_LINE)
    if "title" not in told and not course.title.strip():
        told["title"] = _("A course has a title.")
    if was is None and (wrong := check_course(replace(course, title="x", gpus=0))) is not None:
        told["id"] = wrong.reason if course.id else _("A course has a short name: of its students' servers.")
    if course.profile not in {one.slug for one in found.profiles} and (was is None or was.profile != course.profile):
        told["profile"] = _("Choose one of the profiles that you may use.")
    if not 0 <= course.gpus <= MOST_GPUS:
        told["gpus"] = _("A seat has from none to 16 GPUs.")
    if not 0 <= course.memory <= MOST_MEMORY:
        told["memory"] = _("This is no size of a GPU's memory.")
    if any(not one.isprintable() or len(one) > LONGEST for one in course.models):
        told["models"] = _(_ONE_LINE)
    _check_sources(here, found, course, was, told, _)
    return told


def _check_sources(
    here: Console, found: Offer, course: Course, was: Course | None, told: dict[str, str], _: Words
) -> None:
    if "materials" not in told and course.materials and (was is None or was.materials != course.materials):
        wrong = (
            "" if course.materials in found.materials else _address(course.materials, here.settings.classes.git_hosts)
        )
        if wrong:
            told["materials"] = _(wrong)
    if "branch" not in told and course.branch and not _BRANCH.fullmatch(course.branch):
        told["branch"] = _("This cannot be the name of a branch.")
    for name in ("folder", "collect"):
        path: str = getattr(course, name)
        if name not in told and path and check_push_path(path) is not None:
            told[name] = _(_WRONG_PATH)
    if course.data and course.data not in found.data and (was is None or was.data != course.data):
        told["data"] = _("Admins do not offer a data set of this name.")


def _address(address: str, hosts: tuple[str, ...]) -> str:
    """Find what is wrong with the address of a repository; the janitor looks again before it goes there."""
    try:
        split = urlsplit(address)
        host, _ = split.hostname or "", split.port
    except ValueError:
        return N_("This is not an address.")
    if split.scheme != "https" or not host or split.query or split.fragment or " " in address:
        return N_("Give the address of a git repository, which begins with https://, or choose a directory.")
    if split.username or split.password:
        return N_("An address with a password would be seen by the whole class; use a repository that needs none.")
    if hosts and host not in hosts:
        return N_("Materials may not come from this host; ask an admin to allow it.")
    if not hosts and _private(host):
        return N_("This is an address within a private network; ask an admin to allow its host.")
    return ""


def _private(host: str) -> bool:
    if host == "localhost" or not {".", ":"} & set(host):
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False


LIMITS: Mapping[str, str] = {
    "most_seats": N_("Seats in one session"),
    "most_gpu_hours": N_("GPU-hours of all its sessions together"),
    "most_ahead": N_("Days ahead that a session may be reserved"),
}
