"""Quotas as CSV and YAML files: read all or nothing, each mistake with its line; written to be read back the same.

CSV has the columns ``subject,name,dimension,value`` and, if wanted, ``until,why``; a name or reason that a spreadsheet
would take for a formula has an apostrophe before it. YAML has ``default``, ``groups`` and ``users``, as ``limits`` in
the settings; a value is plain, or ``{value: ..., until: ..., why: ...}``.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import yaml

from ..errors import QuotaInvalid
from ..policy.quota import QuotaGrant, Subject
from .quota_values import parse_value, show_value
from .quotas import make_grant
from .times import parse_time

FileFormat = Literal["csv", "yaml"]

_NEEDED = ("subject", "name", "dimension", "value")
_COLUMNS = (*_NEEDED, "until", "why")
_SECTIONS = {"default": Subject.DEFAULT, "groups": Subject.GROUP, "users": Subject.USER}
_PARTS = ("value", "until", "why")


def read(content: bytes, file_format: FileFormat, source: str, now: datetime) -> list[QuotaGrant]:
    """Read a file.

    Parameters
    ----------
    source
        The file's name, for messages.

    Returns
    -------
    list of QuotaGrant
        Without author; without reason where the file gives none.

    Raises
    ------
    QuotaInvalid
        Every mistake, a line each, with the number of the file's line.
    """
    sheet = _Sheet(source, now)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        sheet.wrong(content.count(b"\n", 0, error.start) + 1, "not UTF-8; save the file as such.")
    else:
        (_read_csv if file_format == "csv" else _read_yaml)(text, sheet)
    return sheet.grants()


def write(grants: Iterable[QuotaGrant], file_format: FileFormat) -> str:
    """Write grants as `read` reads them."""
    return _write_csv(grants) if file_format == "csv" else _write_yaml(grants)


@dataclass
class _Sheet:
    """What a file holds so far, and what is wrong with it."""

    source: str
    now: datetime
    _grants: dict[tuple[Subject, str, str], tuple[QuotaGrant, int]] = field(default_factory=dict)
    _mistakes: list[tuple[int, str]] = field(default_factory=list)

    def wrong(self, line: int, sentence: str) -> None:
        self._mistakes.append((line, sentence))

    def add(self, line: int, subject: str, name: str, dimension: str, value: object, until: str, why: str) -> None:
        try:
            end = parse_time(until) if until else None
        except ValueError as error:
            self.wrong(line, f"until must be {error}.")
            return
        try:
            grant = make_grant(subject, name, dimension, value, end, "", " ".join(why.split()), self.now)
        except QuotaInvalid as error:
            self.wrong(line, str(error))
            return
        key = grant.subject, name, dimension
        if key in self._grants:
            whose = " ".join(part for part in (subject, name) if part)
            self.wrong(line, f"{dimension} of {whose} stands in line {self._grants[key][1]} already.")
        else:
            self._grants[key] = grant, line

    def grants(self) -> list[QuotaGrant]:
        if self._mistakes:
            lines = [f"{self.source}, line {line}: {sentence}" for line, sentence in sorted(self._mistakes)]
            raise QuotaInvalid("\n".join(lines))
        return [grant for grant, _ in self._grants.values()]


# --- CSV ----------------------------------------------------------------------------------------------------------


def _read_csv(text: str, sheet: _Sheet) -> None:
    header = text.partition("\n")[0]
    # Spreadsheets of many countries write semicolons.
    delimiter = ";" if ";" in header and "," not in header else ","
    rows = _rows(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), sheet)
    number, columns = next(rows, (1, []))
    columns = [column.lower() for column in columns]
    if not set(_NEEDED) <= set(columns) <= set(_COLUMNS) or len(set(columns)) != len(columns):
        found = f", not {', '.join(columns)}" if columns else ""
        sheet.wrong(number, f"the first line must be {','.join(_COLUMNS)} (the last two may be left out){found}.")
        return
    for number, cells in rows:
        if len(cells) != len(columns):
            sheet.wrong(number, f"{len(cells)} cells, where the first line has {len(columns)}.")
            continue
        row = dict(zip(columns, cells, strict=True))
        sheet.add(
            number,
            row["subject"].lower(),
            _bare(row["name"]),
            row["dimension"],
            row["value"],
            row.get("until", ""),
            _bare(row.get("why", "")),
        )


def _rows(reader: Any, sheet: _Sheet) -> Iterator[tuple[int, list[str]]]:
    """Give rows that are not blank, each with the line on which it begins."""
    while True:
        number = reader.line_num + 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            sheet.wrong(number, f"not CSV: {error}.")
            return
        if any(cells):
            yield number, cells


def _write_csv(grants: Iterable[QuotaGrant]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for grant in grants:
        value = show_value(grant.dimension, grant.value)
        name, why = _harmless(grant.name), _harmless(grant.why)
        writer.writerow([grant.subject.value, name, grant.dimension, value, _until(grant), why])
    return out.getvalue()


def _harmless(text: str) -> str:
    """Put an apostrophe before what a spreadsheet would take for a formula; `_bare` takes it away."""
    return f"'{text}" if re.match(r"'*[=+\-@]", text) else text


def _bare(text: str) -> str:
    return text[1:] if re.match(r"'+[=+\-@]", text) else text


# --- YAML ---------------------------------------------------------------------------------------------------------


def _read_yaml(text: str, sheet: _Sheet) -> None:
    # Nodes, not values: they know their lines, and a plain 1e3 or 2027-03-01 stays what was written.
    try:
        top = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        sheet.wrong(mark.line + 1 if mark else 1, f"not YAML: {error.problem or error.context}.")
        return
    except yaml.YAMLError as error:
        sheet.wrong(1, f"not YAML: {' '.join(str(error).split())}.")
        return
    if top is None:
        sheet.wrong(1, "the file is empty; `default: {}` would say that nothing is set.")
        return
    for line, section, node in _items(top, sheet, f"the keys {', '.join(_SECTIONS)}"):
        if section not in _SECTIONS:
            sheet.wrong(line, f"there is no key {section!r}; there are: {', '.join(_SECTIONS)}.")
        elif section == "default":
            _read_dimensions(Subject.DEFAULT, "", node, sheet)
        elif not _is_nothing(node):
            for _, name, dimensions in _items(node, sheet, f"names of {section}"):
                _read_dimensions(_SECTIONS[section], name, dimensions, sheet)


def _read_dimensions(subject: Subject, name: str, node: yaml.Node, sheet: _Sheet) -> None:
    if _is_nothing(node):
        return
    for line, dimension, said in _items(node, sheet, "dimensions with values"):
        parts: dict[str, yaml.Node] = {"value": said}
        if isinstance(said, yaml.MappingNode):
            parts = {part: value for _, part, value in _items(said, sheet, "")}
            if not {"value"} <= set(parts) <= set(_PARTS):
                sheet.wrong(line, f"{dimension} must be a value, or have the keys {', '.join(_PARTS)}.")
                continue
        value, until, why = (_plain(parts[part]) if part in parts else "" for part in _PARTS)
        if value is None or not isinstance(until, str) or not isinstance(why, str):
            sheet.wrong(line, f"{dimension}: expected plain words and numbers.")
            continue
        sheet.add(line, subject, name, dimension, value, until, why)


def _items(node: yaml.Node, sheet: _Sheet, expected: str) -> Iterator[tuple[int, str, yaml.Node]]:
    """Give a mapping's keys and values, each with its line."""
    if not isinstance(node, yaml.MappingNode):
        sheet.wrong(node.start_mark.line + 1, f"expected {expected}.")
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            sheet.wrong(line, f"expected {expected}.")
        elif key.value in seen:
            sheet.wrong(line, f"the key {key.value} stands in line {seen[key.value]} already.")
        else:
            seen[key.value] = line
            yield line, key.value, value


def _plain(node: yaml.Node) -> str | list[str] | None:
    """Give the text of a scalar, or the texts of a list of them; None for anything deeper."""
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    if isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value):
        return [str(item.value) for item in node.value]
    return None


def _is_nothing(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _write_yaml(grants: Iterable[QuotaGrant]) -> str:
    document: dict[str, Any] = {}
    for grant in grants:
        section = next(name for name, subject in _SECTIONS.items() if subject is grant.subject)
        of_section = document.setdefault(section, {})
        dimensions = of_section if grant.subject is Subject.DEFAULT else of_section.setdefault(grant.name, {})
        parts = {"value": _yaml_value(grant), "until": _until(grant), "why": grant.why}
        said = {part: value for part, value in parts.items() if value != ""}
        dimensions[grant.dimension] = said if len(said) > 1 else said["value"]
    return yaml.safe_dump(document or {"default": {}}, sort_keys=False, allow_unicode=True, width=120)


def _yaml_value(grant: QuotaGrant) -> str | float | list[str]:
    if isinstance(grant.value, frozenset):
        return sorted(grant.value)
    text = show_value(grant.dimension, grant.value)
    # As a number where that is read back as the same.
    return grant.value if text == str(grant.value) and parse_value(grant.dimension, text) == grant.value else text


def _until(grant: QuotaGrant) -> str:
    return grant.until.astimezone(UTC).isoformat().replace("+00:00", "Z") if grant.until else ""
