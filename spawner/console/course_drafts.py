"""Courses as forms hold them: text that was typed, kept whatever is wrong with it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from starlette.datastructures import FormData

from ..policy.classes import Course, HomesAfter
from ..policy.gpus import SlotKind
from ..policy.model import AtEnd
from .course_values import LONGEST, Offer, Words, short_name

_GIB = 1 << 30
_SEVERAL = frozenset({"kinds", "models"})
GIT = "git"
_DIRECTORY = "dir:"


@dataclass(frozen=True, slots=True)
class Draft:
    """A course in a form.

    Attributes
    ----------
    memory
        GiB.
    source, address
        Empty, ``git`` with the address of a repository, or ``dir:`` with the name of a directory.
    """

    title: str = ""
    id: str = ""
    profile: str = ""
    gpus: str = "0"
    kinds: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    memory: str = ""
    at_end: str = AtEnd.STOP
    source: str = ""
    address: str = ""
    branch: str = ""
    folder: str = ""
    data: str = ""
    collect: str = ""
    homes: str = HomesAfter.KEEP
    group: str = ""


def draft_of(course: Course, offered: Offer) -> Draft:
    """Put a course into a form."""
    named = course.materials in offered.materials
    source = "" if not course.materials else f"{_DIRECTORY}{course.materials}" if named else GIT
    return Draft(
        title=course.title,
        id=course.id,
        profile=course.profile,
        gpus=str(course.gpus),
        kinds=tuple(sorted(course.kinds)),
        models=tuple(sorted(course.models)),
        # All digits: programs set it in bytes, and saving a title is not to change what seats need.
        memory=str(course.memory / _GIB).removesuffix(".0") if course.memory else "",
        at_end=course.at_end,
        source=source,
        address=course.materials if source == GIT else "",
        branch=course.branch,
        folder=course.folder,
        data=course.data,
        collect=course.collect,
        homes=course.homes,
        group=course.group,
    )


def first_draft(offered: Offer) -> Draft:
    """Begin a course: on the first profile, with as many GPUs as that has."""
    if not offered.profiles:
        return Draft()
    profile = offered.profiles[0]
    return Draft(profile=profile.slug, gpus=str(profile.size.gpus or 0))


def typed(form: FormData | None) -> Draft:
    """Read what somebody typed; what is no text is nothing."""
    found: dict[str, Any] = {}
    for field in fields(Draft):
        said = [one for one in form.getlist(field.name) if isinstance(one, str)] if form else []
        if field.name in _SEVERAL:
            found[field.name] = tuple(said)
        elif said:
            found[field.name] = said[0].strip()
    return Draft(**found)


def values_in(draft: Draft, _: Words) -> tuple[dict[str, Any], dict[str, str]]:
    """Give a form's values as a course has them, and what is wrong with those that have none."""
    wrong: dict[str, str] = {}
    materials = draft.source.removeprefix(_DIRECTORY) if draft.source.startswith(_DIRECTORY) else ""
    if draft.source == GIT:
        materials = draft.address
        if not materials:
            wrong["materials"] = _("Give the address of the repository, or choose another source.")
    values: dict[str, Any] = {
        "title": " ".join(draft.title.split()),
        "profile": draft.profile,
        "gpus": _whole(draft.gpus, wrong, _),
        "kinds": frozenset(SlotKind(one) for one in draft.kinds if one in list(SlotKind)),
        "models": frozenset(draft.models),
        "memory": _bytes(draft.memory, wrong, _),
        "at_end": AtEnd(draft.at_end) if draft.at_end in list(AtEnd) else AtEnd.STOP,
        "materials": materials,
        "branch": draft.branch if draft.source == GIT else "",
        "folder": draft.folder.strip("/"),
        "data": draft.data,
        "collect": draft.collect.strip("/"),
        "homes": HomesAfter(draft.homes) if draft.homes in list(HomesAfter) else HomesAfter.KEEP,
        "group": draft.group,
    }
    return values, wrong


def named(draft: Draft) -> str:
    """Give the short name: as typed, or else as the title proposes."""
    return draft.id.lower() or short_name(draft.title[:LONGEST])


def _whole(said: str, wrong: dict[str, str], _: Words) -> int:
    if said.isascii() and said.isdecimal() and len(said) < 6:
        return int(said)
    if said:
        wrong["gpus"] = _("This is a whole number, such as 1.")
    return 0


def _bytes(said: str, wrong: dict[str, str], _: Words) -> int:
    try:
        size = float(said.replace(",", ".") or 0) * _GIB
        if 0 <= size < float("inf"):
            return int(size)
    except ValueError:
        pass
    wrong["memory"] = _("This is a number of GiB, such as 16.")
    return 0


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Name the values that differ."""
    return [name for name in after if before.get(name) != after[name]]
