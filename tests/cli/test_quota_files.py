"""Importing and exporting quotas: all or nothing, and each mistake with its line."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.errors import QuotaInvalid
from spawner.operations import quota_files
from spawner.operations.quota_files import FileFormat
from spawner.operations.quota_values import parse_value, show_value
from spawner.policy.quota import ALL, QUOTA_DIMENSIONS, QuotaGrant, Subject

from .admin import Admin

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
YEAR = datetime.now(UTC).year + 1

YAML = f"""\
default:
  gpus: 1
groups:
  vision:
    gpus: {{value: 2, until: {YEAR}-07-31, why: "Vision course"}}
    models: [NVIDIA A100-SXM4-40GB, "Tesla T4"]
users:
  ann:
    home: 200 GiB
    gpu_hours: unlimited
"""
CSV = f"""\
subject,name,dimension,value,until,why
default,,gpus,1,,
group,vision,gpus,2,{YEAR}-07-31,Vision course
group,vision,models,"NVIDIA A100-SXM4-40GB, Tesla T4",,
user,ann,home,200 GiB,,
user,ann,gpu_hours,unlimited,,
"""
BOTH = pytest.mark.parametrize(("name", "text"), [("term.yaml", YAML), ("term.csv", CSV), ("term.yml", YAML)])


def written(admin: Admin, name: str, text: str | bytes) -> str:
    path = admin.directory / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def is_set(admin: Admin) -> list[tuple[str, str, str, object]]:
    return [(one["subject"], one["name"], one["dimension"], one["value"]) for one in admin.data("quota", "show")]


@BOTH
def test_import_replaces_all_that_is_set(admin: Admin, name: str, text: str) -> None:
    admin.ok("quota", "set", "default", "gpus", "1", "--why", "as ever")
    admin.ok("quota", "set", "user", "ann", "home", "100 GiB", "--why", "as ever")
    admin.ok("quota", "set", "user", "zoe", "gpus", "8", "--why", "forgotten")
    before = admin.data("quota", "show", "--user", "zoe") + admin.audit()
    dry = admin.ok("quota", "import", written(admin, name, text), "--dry-run")
    assert "3 added, 1 changed, 1 taken back" in dry
    assert "Nothing was changed" in dry
    lines = [" ".join(line.split()) for line in dry.splitlines()]
    assert f"+ group vision gpus not set 2 until {YEAR}-07-31 00:00 UTC" in lines
    assert "~ user ann home 100 GiB 200 GiB" in lines
    assert "- user zoe gpus 8 not set" in lines
    assert admin.data("quota", "show", "--user", "zoe") + admin.audit() == before
    done = admin.data("quota", "import", written(admin, name, text), "--yes", "--why", "summer term")
    assert done["done"] is True
    assert len(done["changes"]) == 5
    assert is_set(admin) == [
        ("default", "", "gpus", 1),
        ("group", "vision", "gpus", 2),
        ("group", "vision", "models", ["NVIDIA A100-SXM4-40GB", "Tesla T4"]),
        ("user", "ann", "gpu_hours", "unlimited"),
        ("user", "ann", "home", 200 << 30),
    ]
    reasons = {(one["name"], one["dimension"]): one["why"] for one in admin.data("quota", "show")}
    # What stays as it was keeps its author's reason; a line's own goes before the command's.
    assert reasons["", "gpus"] == "as ever"
    assert reasons["vision", "gpus"] == "Vision course"
    assert reasons["ann", "home"] == "summer term"
    entries = [entry for entry in admin.audit() if entry["action"] == "quota.import"]
    assert len(entries) == 5
    assert {entry["actor"] for entry in entries} == {"cli:olga"}
    assert next(entry for entry in entries if entry["subject"] == "user zoe gpus")["after"] is None


@BOTH
def test_the_same_again_changes_nothing(admin: Admin, name: str, text: str) -> None:
    path = written(admin, name, text)
    admin.ok("quota", "import", path, "--yes")
    entries = admin.audit()
    assert "Nothing changes" in admin.ok("quota", "import", path)
    assert admin.data("quota", "import", path, "--dry-run") == {"done": False, "changes": []}
    assert admin.audit() == entries
    assert entries[0]["why"] in {f"imported from {name}", "Vision course"}


def test_what_a_file_does_not_name_may_stay(admin: Admin) -> None:
    admin.ok("quota", "set", "user", "zoe", "gpus", "8", "--why", "as ever")
    path = written(admin, "more.csv", "subject,name,dimension,value\nuser,ann,gpus,2\n")
    assert "1 added, 0 changed, 0 taken back" in admin.ok("quota", "import", path, "--dry-run", "--keep-others")
    assert "adds to what is set" in admin.misused("quota", "import", path, "--keep-others")
    admin.ok("quota", "import", path, "--keep-others", "--yes")
    assert is_set(admin) == [("user", "ann", "gpus", 2), ("user", "zoe", "gpus", 8)]


def test_without_yes_nothing_happens(admin: Admin) -> None:
    path = written(admin, "term.yaml", YAML)
    assert "5 added, 0 changed, 0 taken back" in admin.misused("quota", "import", path)
    assert "--yes" in admin.misused("quota", "import", path, input="y\n")  # no terminal: nobody answered
    assert is_set(admin) == []


def test_from_standard_input(admin: Admin) -> None:
    assert "--format csv" in admin.misused("quota", "import", "-", "--yes", input=CSV)
    admin.ok("quota", "import", "-", "--format", "csv", "--yes", input=CSV)
    assert len(is_set(admin)) == 5
    assert admin.audit()[0]["why"] in {"imported from standard input", "Vision course"}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (
            "q.csv",
            (
                "subject,name,dimension,value,until\nuser,ann,gpus,two,\n\nteam,a,gpus,1,\nuser,,gpus,1,\n"
                "user,ben,gpus,1,2020-01-01\nuser,ben,gpu,1,\nuser,ben,cpu,2,soon\nuser,ann,cpu,1\ndefault,x,cpu,1,\n"
            ),
            {
                2: "gpus must be a whole number, not 'two'",
                4: "set for default, group, user, not for 'team'",
                5: "Which user",
                6: "2020-01-01 00:00 UTC, which has passed",
                7: "There is no dimension 'gpu'",
                8: "until must be a date",
                9: "4 cells, where the first line has 5",
                10: "The default has no name",
            },
        ),
        (
            "q.csv",
            'subject,name,dimension,value,until,why\nuser,ann,gpus,1,,"two\nlines"\nuser,ann,gpus,2,,x\n',
            {4: "gpus of user ann stands in line 2 already"},
        ),
        ("q.csv", "name,gpus\nann,2\n", {1: "the first line must be subject,name,dimension,value"}),
        ("q.csv", "", {1: "the first line must be"}),
        ("q.csv", 'subject,name,dimension,value\nuser,"ann,gpus,1\n', {2: "not CSV"}),
        ("q.csv", "subject,name,dimension,value\nuser,a\0b,gpus,1\n", {2: ""}),
        ("q.csv", b"subject,name,dimension,value\nuser,\xe9mile,gpus,1\n", {2: "not UTF-8"}),
        (
            "q.yaml",
            (
                "default:\n  gpus: two\ngroups:\n  vision:\n    gpu: 1\n    cpu: {value: 1, unil: x}\n"
                "    gpus: {value: 1, until: 2020-01-01}\n    models:\nusers: [ann]\nteams: {}\n"
            ),
            {
                2: "gpus must be a whole number, not 'two'",
                5: "There is no dimension 'gpu'",
                6: "cpu must be a value, or have the keys value, until, why",
                7: "which has passed",
                8: "models must be names",
                9: "expected names of users",
                10: "there is no key 'teams'; there are: default, groups, users",
            },
        ),
        (
            "q.yaml",
            "users:\n  ann: {gpus: 1}\n  ben: {gpus: [1, 2]}\n  ann: {gpus: 2}\n  cleo: {cpu: [[1]]}\n  1: 2\n",
            {
                3: "gpus takes one value, not a list",
                4: "the key ann stands in line 2 already",
                5: "plain words",
                6: "expected dimensions with values",
            },
        ),
        ("q.yaml", "default: {gpus: 1\n", {2: "not YAML"}),
        ("q.yaml", "default:\n\tgpus: 1\n", {2: "not YAML"}),
        ("q.yaml", "", {1: "the file is empty"}),
        ("q.yaml", "# nothing\n", {1: "the file is empty"}),
        ("q.yaml", "- 1\n", {1: "expected the keys default, groups, users"}),
        ("q.yaml", "default: {gpus: 1}\nusers: \x00\n", {1: "not YAML"}),
    ],
)
def test_each_mistake_with_its_line_and_nothing_done(
    admin: Admin, name: str, text: str | bytes, told: dict[int, str]
) -> None:
    admin.ok("quota", "set", "user", "zoe", "gpus", "8", "--why", "x")
    before = admin.data("quota", "show") + admin.audit()
    for mode in ("--dry-run", "--yes"):
        sentence = admin.refused("quota", "import", written(admin, name, text), mode, code="quota_invalid")
        lines = sentence.splitlines()
        assert len(lines) == len(told), sentence
        for line, (number, words) in zip(lines, told.items(), strict=True):
            assert line.startswith(f"{name}, line {number}: ")
            assert words in line
    assert admin.data("quota", "show") + admin.audit() == before


def test_what_spreadsheets_write(admin: Admin) -> None:
    text = "\ufeff" + "Subject;Name;Dimension;Value\r\nuser;ann;models;A, B\r\n;;;\r\nUser;ben;gpus;2\r\n"
    admin.ok("quota", "import", written(admin, "q.csv", text), "--yes")
    assert is_set(admin) == [("user", "ann", "models", ["A", "B"]), ("user", "ben", "gpus", 2)]


def test_nothing_is_set_by_an_explicit_nothing(admin: Admin) -> None:
    admin.ok("quota", "set", "user", "zoe", "gpus", "8", "--why", "x")
    admin.ok("quota", "import", written(admin, "q.yaml", "default: {}\nusers:\n"), "--yes")
    assert is_set(admin) == []


def test_files_that_are_not_there_or_of_no_known_kind(admin: Admin) -> None:
    assert "does not exist" in admin.misused("quota", "import", str(admin.directory / "none.csv"))
    assert "--format" in admin.misused("quota", "import", written(admin, "q.txt", CSV))
    assert "--format" in admin.misused("quota", "export", str(admin.directory / "q.txt"))
    assert "No such file or directory" in admin.misused("quota", "export", str(admin.directory / "no" / "q.csv"))


@pytest.mark.parametrize("name", ["q.csv", "q.yaml"])
def test_what_is_exported_is_imported_the_same(admin: Admin, name: str) -> None:
    admin.ok("quota", "import", written(admin, "term.yaml", YAML), "--yes")
    path = str(admin.directory / name)
    assert f"Wrote 5 values to {path}" in admin.ok("quota", "export", path)
    everything = admin.data("quota", "show")
    assert "Nothing changes" in admin.ok("quota", "import", path)
    admin.ok("quota", "import", written(admin, "none.yaml", "default: {}"), "--yes")
    admin.ok("quota", "import", path, "--yes")
    again = admin.data("quota", "show")
    assert [{**one, "at": None, "why": None} for one in again] == [
        {**one, "at": None, "why": None} for one in everything
    ]


def test_export_prints(admin: Admin) -> None:
    assert admin.ok("quota", "export") == "default: {}\n"
    admin.ok("quota", "set", "user", "ann", "gpus", "2", "--why", "x")
    assert admin.ok("quota", "export") == "users:\n  ann:\n    gpus:\n      value: 2\n      why: x\n"
    assert admin.ok("quota", "export", "--format", "csv").splitlines()[1] == "user,ann,gpus,2,,x"
    assert admin.ok("quota", "export", "-", "--format", "csv").splitlines()[1] == "user,ann,gpus,2,,x"
    assert admin.data("quota", "export")[0]["value"] == 2


_names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=12)
_sizes = st.integers(64 << 20, 1 << 60)
_numbers = st.floats(0.001, 4096, allow_nan=False)
_counts = st.integers(1, 1_000_000)
_sets = st.one_of(
    st.just(frozenset[str]()),
    st.just(ALL),
    st.frozensets(_names.filter(lambda name: name != "none" and not set(name) & set(",;")), min_size=1, max_size=4),
)
_values = {
    "cpu": _numbers,
    "memory": _sizes,
    "shm": _sizes,
    "home": st.one_of(_sizes, st.just(float("inf"))),
    "gpu_hours": st.one_of(_numbers, st.just(float("inf")), st.just(0.0)),
    "lease_hours": _numbers,
    "profiles": _sets,
    "models": _sets,
    "priority": st.integers(-1_000_000, 1_000_000),
}


@st.composite
def grants(draw: st.DrawFn) -> QuotaGrant:
    dimension = draw(st.sampled_from(QUOTA_DIMENSIONS))
    subject = draw(st.sampled_from(list(Subject)))
    until = draw(st.one_of(st.none(), st.integers(1, 10**11).map(lambda ms: NOW + timedelta(milliseconds=ms))))
    name = "" if subject is Subject.DEFAULT else draw(_names)
    value = draw(_values.get(dimension, _counts))
    return QuotaGrant(subject, name, dimension, value, until, why=draw(st.one_of(st.just(""), _names)), at=NOW)


@given(
    st.lists(grants(), unique_by=lambda grant: (grant.subject, grant.name, grant.dimension)),
    st.sampled_from(["csv", "yaml"]),
)
def test_every_set_of_quotas_comes_back(all_of_them: list[QuotaGrant], file_format: FileFormat) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "q"
        path.write_text(quota_files.write(all_of_them, file_format), encoding="utf-8")
        again = quota_files.read(path.read_bytes(), file_format, "q", NOW)
    key = lambda grant: (grant.subject, grant.name, grant.dimension)  # noqa: E731
    assert sorted(again, key=key) == sorted(all_of_them, key=key)


@given(st.sampled_from(QUOTA_DIMENSIONS), st.text(max_size=30))
def test_a_value_is_read_or_refused_and_written_as_it_is_read(dimension: str, text: str) -> None:
    refusal = ""
    try:
        value = parse_value(dimension, text)
    except QuotaInvalid as error:
        refusal = str(error)
    assert refusal.startswith(dimension) if refusal else parse_value(dimension, show_value(dimension, value)) == value


@given(st.binary(max_size=200), st.sampled_from(["csv", "yaml"]))
def test_no_file_breaks_the_reader(content: bytes, file_format: FileFormat) -> None:
    mistakes = ""
    try:
        found = quota_files.read(content, file_format, "q", NOW)
    except QuotaInvalid as error:
        mistakes = str(error)
    if mistakes:
        assert all(line.startswith("q, line ") for line in mistakes.split("\n"))
    else:
        assert all(grant.dimension in QUOTA_DIMENSIONS for grant in found)
