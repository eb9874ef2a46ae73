"""Rosters in the forms in which people have them."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.policy.rosters import Mistake, Roster, parse


@pytest.mark.parametrize(
    "text",
    [
        "ann\nbob\ncyd\n",
        "ann, bob, cyd",
        "ann; bob; cyd",
        "\ufeffann\r\n\r\nbob\r\n# late ones\r\nCyd\r\nann",
        "Name,Username\nLee,ann\nMay,bob\nRay,cyd",
        '"Name";"E-Mail"\n"Lee, A.";"ann"\n"May";"bob"\n"Ray";"cyd"',
        "user\tgroup\nann\t1\nbob\t2\ncyd\t1",
        "ann,1\nbob,2\ncyd,1",
    ],
)
def test_forms(text: str) -> None:
    assert parse(text) == Roster(("ann", "bob", "cyd"))


def test_the_surest_column_counts() -> None:
    assert parse("email,username\na@x.test,ann") == Roster(("ann",))
    assert parse("name,email\nAnn,A@x.test") == Roster(("a@x.test",))


def test_each_mistake_is_named_with_its_line() -> None:
    found = parse("user,group\nann,1\n,2\n# gone\nb ob,1\na/b,2\n" + "x" * 300)
    assert found.users == ("ann",)
    assert found.mistakes == (
        Mistake(3, "There is no name in this line."),
        Mistake(5, "'b ob' cannot be a user's name."),
        Mistake(6, "'a/b' cannot be a user's name."),
        Mistake(7, "A name has 255 characters at most."),
    )
    assert parse("\n \n# nobody\n").mistakes == (Mistake(1, "There is no name in it."),)


NAMES = st.lists(st.from_regex(r"[a-z0-9._@-]{1,20}", fullmatch=True), min_size=2, unique=True)


@given(NAMES, st.sampled_from([",", ";", "\t"]), st.text(max_size=10))
def test_what_a_spreadsheet_writes_is_read(names: list[str], delimiter: str, other: str) -> None:
    out = io.StringIO()
    table = csv.writer(out, delimiter=delimiter)
    table.writerow(["group", "username"])
    other = " ".join(other.split())
    for number, name in enumerate(names):
        table.writerow([f"{number}{other if other.isprintable() else ''}".replace("#", ""), name])
    if any(out.getvalue().count(mark) > out.getvalue().count(delimiter) for mark in ",;\t"):
        return  # nobody could tell what parts the columns
    assert set(parse(out.getvalue()).users) == set(names)


@given(st.text())
def test_nothing_breaks_it(text: str) -> None:
    found = parse(text)
    assert len(set(found.users)) == len(found.users)
    assert found.users or found.mistakes
    assert all(name == name.strip().lower() for name in found.users)
