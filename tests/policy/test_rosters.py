"""Rosters in the forms in which people have them."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.policy.classes import Role
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
        "Vorname,Nachname,E-Mail-Adresse\nAnn,Lee,ann\nBob,May,bob\nCyd,Ray,cyd",  # Moodle
        "First name,Last name,Email address\nAnn,Lee,ann\nBob,May,bob\nCyd,Ray,cyd",
        'Student,ID,SIS User ID,SIS Login ID\n"Lee, Ann",1,77,ann\n"May, Bob",2,78,bob\n"Ray, Cyd",3,79,cyd',  # Canvas
        "user_id;login_id;first_name\n77;ann;Ann\n78;bob;Bob\n79;cyd;Cyd",
        "ann,\nbob,\ncyd,",
    ],
)
def test_forms(text: str) -> None:
    assert parse(text) == Roster(("ann", "bob", "cyd"))


def test_the_surest_column_counts() -> None:
    assert parse("email,username\na@x.test,ann") == Roster(("ann",))
    assert parse("name,email\nAnn,A@x.test") == Roster(("a@x.test",))


def test_a_list_may_begin_with_a_name_that_is_almost_a_heading() -> None:
    assert parse("user1\nlogin2\nmail3") == Roster(("user1", "login2", "mail3"))


@pytest.mark.parametrize("text", ["Vorname,Nachname\nAnn,Lee\nBob,May", "ann,1\nbob,2", "# all\nann; bob\ncyd; dan"])
def test_nobody_guesses_which_column_has_the_names(text: str) -> None:
    [mistake] = parse(text).mistakes
    assert "No column is called username or e-mail" in mistake.reason
    assert mistake.line == 1 + text.startswith("#")
    assert parse(text).users == ()


def test_roles_of_a_table() -> None:
    found = parse("username,role\nann,\nTom,Assistant\nines,instructor\neve\n")
    assert found.users == ("ann", "tom", "ines", "eve")
    assert found.roles == {"tom": Role.ASSISTANT, "ines": Role.INSTRUCTOR}
    # Who stands there twice is in it in the higher one.
    assert parse("user,role\ntom,assistant\ntom,student").roles == {"tom": Role.ASSISTANT}
    assert parse("user,role\ntom,\ntom,assistant\n").roles == {"tom": Role.ASSISTANT}
    [mistake] = parse("user,role\nann,student\nbob,Tutor").mistakes
    assert (mistake.line, "'Tutor' is no role" in mistake.reason) == (3, True)


def test_an_apostrophe_before_a_formula_is_none_of_the_name() -> None:
    assert parse("username,role\n'=1+1,student\n'-ann,\n'ben,").users == ("=1+1", "-ann", "'ben")


def test_lines_that_are_too_long() -> None:
    names = tuple(f"user{number}@example.org" for number in range(4000))
    assert parse(", ".join(names)) == Roster(names)
    for text in ("x" * 200_000, "ann\n" + "x " * 100_000, 'user,group\nann,"' + "x" * 200_000):
        [mistake] = parse(text).mistakes
        assert mistake.line == 1 + text.count("\n")
        assert len(mistake.reason) < 100


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
