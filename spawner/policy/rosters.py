"""Rosters as people have them: a list that was pasted, or a table from the university's own system."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_NAMES = ("username", "user", "login", "account", "user name", "benutzername", "kennung", "email", "e-mail", "mail")
"""Headings of the column that holds users' names, the surest first."""
_MOST = 5000
_LONGEST = 255


@dataclass(frozen=True, slots=True)
class Mistake:
    """A line that names nobody; the first is 1."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Roster:
    """Whom a roster names, each once, in its order; and what is wrong with it."""

    users: tuple[str, ...]
    mistakes: tuple[Mistake, ...] = ()


def parse(text: str) -> Roster:
    """Read a roster: a name per line, or names between commas, or CSV with a heading (``,``, ``;`` or tabs).

    Of a table with a heading the column counts whose title says that it holds users' names; without one the first.
    Names are put into small letters, as JupyterHub does (`Authenticator.normalize_username`). Lines that begin with
    ``#`` say nothing.
    """
    lines = text.removeprefix("\ufeff").splitlines()
    rows = [
        (number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")
    ]
    if not rows:
        return Roster((), (Mistake(1, "There is no name in it."),))
    delimiter = _delimiter(line for _, line in rows)
    cells = [(number, next(csv.reader([line], delimiter=delimiter), [])) for number, line in rows]
    column = _column(cells[0][1])
    if column is not None:
        found = [(number, row[column] if column < len(row) else "") for number, row in cells[1:]]
        if not found:
            return Roster((), (Mistake(cells[0][0], "There is no name below the heading."),))
    elif len(cells) == 1:
        found = [(cells[0][0], cell) for cell in cells[0][1]]  # all in one line
    else:
        found = [(number, row[0] if row else "") for number, row in cells]
    return _checked(found)


def _delimiter(lines: Iterable[str]) -> str:
    counts = {",": 0, ";": 0, "\t": 0}
    for line in lines:
        for mark in counts:
            counts[mark] += line.count(mark)
    return max(counts, key=lambda mark: counts[mark])


def _column(heading: Sequence[str]) -> int | None:
    titles = [title.strip().lower() for title in heading]
    return next((titles.index(name) for name in _NAMES if name in titles), None)


def _checked(found: Iterable[tuple[int, str]]) -> Roster:
    users: dict[str, None] = {}
    mistakes = []
    for number, cell in found:
        name = cell.strip().lower()
        if not name:
            mistakes.append(Mistake(number, "There is no name in this line."))
        elif not name.isprintable() or any(mark in name for mark in " /\\"):
            mistakes.append(Mistake(number, f"{name!r} cannot be a user's name."))
        elif len(name) > _LONGEST:
            mistakes.append(Mistake(number, f"A name has {_LONGEST} characters at most."))
        else:
            users[name] = None
    if len(users) > _MOST:
        mistakes.append(Mistake(1, f"These are {len(users)} people; a course has {_MOST} at most."))
    return Roster(tuple(users), tuple(mistakes))
