"""docs/reference/ledger.md tells the tables as they are."""

import re
from pathlib import Path

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer

from spawner.ledger.schema import VERSION_TABLE
from spawner.ledger.tables import metadata
from spawner.ledger.types import Choice, Ids, Json, Kinds, Length, Names, QuotaValue, UtcMs, Words

PAGE = (Path(__file__).parents[2] / "docs/reference/ledger.md").read_text(encoding="utf-8")

_KINDS = {
    Words: "text",
    UtcMs: "time",
    Length: "number",
    Names: "names",
    Kinds: "names",
    Ids: "ids",
    Json: "JSON",
    QuotaValue: "JSON",
    Boolean: "yes or no",
    Double: "decimal number",
    BigInteger: "number",
    Integer: "number",
}


def kind(column: Column[object]) -> str:
    if isinstance(column.type, Choice):
        told = f"one of {', '.join(f'`{member.value}`' for member in column.type.members)}"
    else:
        told = _KINDS[type(column.type)]
    return f"{told} *" if column.nullable else told


def section(table: str) -> str:
    found = re.search(rf"^## `{table}`\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None, table
    return found[1]


def test_every_table_has_its_section() -> None:
    assert set(re.findall(r"^## `(\w+)`", PAGE, re.MULTILINE)) == {*metadata.tables, VERSION_TABLE}


def test_every_column_stands_in_its_table() -> None:
    for table in metadata.sorted_tables:
        told = re.findall(r"^\| `(\w+)` \| (.*?) \|", section(table.name), re.MULTILINE)
        assert told == [(column.name, kind(column)) for column in table.columns], table.name


def test_every_rule_is_told() -> None:
    for table in metadata.sorted_tables:
        for index in table.indexes:
            if index.unique:
                assert f"`{index.name}`" in section(table.name)
