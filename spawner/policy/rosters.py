"""Rosters as people have them: a list that was pasted, or a table from the university's own system."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .classes import Role, above

_NAMES = (
    *("username", "user", "login", "account", "benutzername", "nutzername", "anmeldename", "kennung"),
    *("loginid", "sisloginid", "email", "emailaddress", "emailadresse", "mail", "userid"),
)
"""Headings of the column that holds users' names, the surest first; an id is a number as often as a name."""
_ROLE = "role"
_FORMULAS = ("'=", "'+", "'-", "'@")
_MOST = 5000
_LONGEST = 255


@dataclass(frozen=True, slots=True)
class Mistake:
    """A line that names nobody; the first is 1."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Roster:
    """Whom a roster names, each once, in its order; and what is wrong with it.

    Attributes
    ----------
    roles
        Of those for whom it says one.
    """

    users: tuple[str, ...]
    mistakes: tuple[Mistake, ...] = ()
    roles: Mapping[str, Role] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Entry:
    line: int
    name: str
    role: str = ""


def parse(text: str) -> Roster:
    """Read a roster: a name per line, or names between commas, or CSV with a heading (``,``, ``;`` or tabs).

    Of a table the column counts whose heading says that it holds users' names, as Moodle and Canvas write it, too; and
    ``role`` where there is one. Nobody guesses which of several columns without such a heading is meant.
    Names are put into small letters, as JupyterHub does (`Authenticator.normalize_username`). Lines that begin with
    ``#`` say nothing.
    """
    lines = text.removeprefix("\ufeff").splitlines()
    rows = [
        (number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")
    ]
    if not rows:
        return Roster((), (Mistake(1, "There is no name in it."),))
    delimiter, cells = _delimiter(line for _, line in rows), []
    for number, line in rows:
        try:
            cells.append((number, next(csv.reader([line], delimiter=delimiter), [])))
        except csv.Error:  # a cell of more than 128 Ki
            return Roster((), (Mistake(number, "This line is too long for a roster."),))
    first, heading = cells[0]
    titles = [_plain(title) for title in heading]
    column = next((titles.index(name) for name in _NAMES if name in titles), None)
    if column is not None:
        of_role = titles.index(_ROLE) if _ROLE in titles else None
        found = [_Entry(number, _cell(row, column), _cell(row, of_role)) for number, row in cells[1:]]
        if not found:
            return Roster((), (Mistake(first, "There is no name below the heading."),))
    elif len(cells) == 1:
        found = [_Entry(first, cell) for cell in heading]  # all in one line
    elif any(sum(bool(cell.strip()) for cell in row) > 1 for _, row in cells):
        return Roster((), (Mistake(first, "No column is called username or e-mail; rename one, or give names only."),))
    else:
        found = [_Entry(number, _cell(row, 0)) for number, row in cells]
    return _checked(found)


def _delimiter(lines: Iterable[str]) -> str:
    counts = {",": 0, ";": 0, "\t": 0}
    for line in lines:
        for mark in counts:
            counts[mark] += line.count(mark)
    return max(counts, key=lambda mark: counts[mark])


def _plain(title: str) -> str:
    """Give a heading's letters and digits: a list may begin with a ``user1``."""
    return "".join(letter for letter in title.lower() if letter.isalnum())


def _cell(row: Sequence[str], column: int | None) -> str:
    return "" if column is None or column >= len(row) else row[column].strip()


def _checked(found: Iterable[_Entry]) -> Roster:
    users: dict[str, None] = {}
    roles: dict[str, Role] = {}
    mistakes = []
    known = {str(role): role for role in Role}
    for entry in found:
        name, role = _name(entry.name), entry.role.lower()
        if not name:
            mistakes.append(Mistake(entry.line, "There is no name in this line."))
        elif len(name) > _LONGEST:
            mistakes.append(Mistake(entry.line, f"A name has {_LONGEST} characters at most."))
        elif not name.isprintable() or any(mark in name for mark in " /\\"):
            mistakes.append(Mistake(entry.line, f"{name!r} cannot be a user's name."))
        elif role and role not in known:
            mistakes.append(Mistake(entry.line, f"{entry.role[:40]!r} is no role; there are {', '.join(known)}."))
        else:
            users[name] = None
            if role and (name not in roles or above(known[role], roles[name])):
                roles[name] = known[role]
    if len(users) > _MOST:
        mistakes.append(Mistake(1, f"These are {len(users)} people; a course has {_MOST} at most."))
    return Roster(tuple(users), tuple(mistakes), roles)


def _name(cell: str) -> str:
    """Give the name in a cell, without the apostrophe that keeps spreadsheets from reading a formula."""
    name = cell.strip().lower()
    return name[1:] if name.startswith(_FORMULAS) else name
