"""All quotas in one table: found, in parts, with what holds and where it comes from."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.operations import quotas
from spawner.operations.desk import Desk
from spawner.operations.quota_table import Filter, Place, Row, Table, row, table
from spawner.policy.limits import why
from spawner.policy.model import LimitRule, Person
from spawner.policy.quota import QUOTA_DIMENSIONS, QuotaRule, Subject

from ..support.office import HOUR, LIMITS, NOW, Office
from .conftest import OpenOffice

PEOPLE = [
    Person("ann", frozenset({"lab"})),
    Person("Bob", frozenset({"lab", "staff"})),
    *(Person(f"user{number:03}") for number in range(120)),
]


def names(found: Table) -> list[str]:
    return [one.place.name or one.place.subject for one in found.rows]


@pytest.fixture
def desk(office: Office) -> Desk:
    """A desk whose settings speak of a group and a user, and whose admins have set values, too."""
    rules = replace(LIMITS, groups={"staff": LimitRule(gpus=3)}, users={"zoe": QuotaRule(priority=7)})
    office.desk = Desk(office.ledger, rules, office.desk.rules, office.clock)
    office.give("group", "lab", "gpus", 2)
    office.give("group", "staff", "gpus", 6, NOW + HOUR)
    office.give("user", "ann", "gpu_hours", 20)
    office.give("default", "", "gpus", 1)
    return office.desk


def test_what_is_said_of_whom(desk: Desk, office: Office) -> None:
    found = table(desk, PEOPLE, Filter())
    assert names(found) == ["default", "lab", "staff", "ann", "zoe"]
    assert (found.total, found.more, found.version) == (5, False, quotas.all_set(desk).version)
    default, lab, staff, ann, zoe = found.rows
    assert [cell.dimension for cell in ann.cells] == list(QUOTA_DIMENSIONS)
    assert (default.cell("gpus").setting, default.cell("gpus").own) == (4, 1)
    assert (lab.cell("gpus").setting, lab.cell("gpus").own, lab.cell("cpu").own) == (None, 2, None)
    assert (staff.cell("gpus").setting, staff.cell("gpus").own) == (3, 6)
    assert (ann.groups, ann.known, zoe.known, lab.known) == (("lab",), True, False, True)
    assert {cell.dimension: cell.effective for cell in ann.cells} == _why(desk, PEOPLE[0])
    assert zoe.cell("priority").own == 7
    assert row(desk, Place(Subject.USER, "ann"), PEOPLE[0]) == ann
    office.wait(HOUR)
    [_, _, staff, _, _] = table(desk, PEOPLE, Filter()).rows
    cell = staff.cell("gpus")
    assert cell.grant is not None
    assert (cell.over, cell.own, cell.grant.value) == (True, 3, 6)


def _why(desk: Desk, person: Person) -> object:
    with desk.ledger.reading() as books:
        return why(desk.quotas.rules(books, desk.clock()), person)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter("AN", everyone=True), ["ann"]),
        (Filter("bob"), []),
        (Filter("bob", everyone=True), ["Bob"]),
        (Filter("olga test lab"), ["lab"]),
        (Filter("default"), ["default"]),
        (Filter(subjects=[Subject.GROUP]), ["lab", "staff"]),
        (Filter(temporary=True), ["staff"]),
        (Filter("user11", everyone=True), [f"user11{digit}" for digit in range(10)]),
        (Filter("<script>"), []),
    ],
)
def test_found(desk: Desk, wanted: Filter, found: list[str]) -> None:
    assert names(table(desk, PEOPLE, wanted)) == found


def test_somebody_of_whom_nothing_is_known(desk: Desk) -> None:
    found = row(desk, Place(Subject.USER, "nobody"), known=False)
    assert (found.place, found.known) == (Place(Subject.USER, "nobody"), False)
    assert found.cell("gpus").effective == _why(desk, Person("nobody"))["gpus"]  # type: ignore[index]


@given(limit=st.integers(1, 70), everyone=st.booleans())
def test_parts_make_the_whole(open_office: OpenOffice, limit: int, everyone: bool) -> None:
    office = open_office()
    office.give("user", "zoe", "gpus", 1)
    wanted = Filter(everyone=everyone)
    whole = table(office.desk, PEOPLE, wanted, limit=1000)
    parts: list[Row] = []
    after = None
    while True:
        part = table(office.desk, PEOPLE, wanted, after, limit)
        assert part.total == whole.total
        parts += part.rows
        if not part.more:
            break
        after = part.rows[-1].place
    assert tuple(parts) == whole.rows
    assert len(parts) == (3 + 1 + len(PEOPLE) if everyone else 2)
