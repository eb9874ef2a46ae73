from datetime import timedelta
from pathlib import Path

import pytest

from spawner.operations import courses
from spawner.policy.classes import Role

from .admin import A100, Admin

MAKE = ("course", "create", "ml", "--title", "Machine learning 1", "--instructor", "Eva", "--profile", "gpu")


def roster(admin: Admin) -> dict[str, Role]:
    with admin.desk.ledger.reading() as books:
        return {one.user: one.role for one in books.courses.members("ml")}


def test_none_yet(admin: Admin) -> None:
    assert "no courses yet" in admin.ok("course", "list")
    assert admin.data("course", "list") == []
    assert "none yet" in admin.refused("course", "show", "ml", code="unknown_name")


def test_make_and_show(admin: Admin) -> None:
    admin.inventory((A100, 1))
    said = admin.data(*MAKE, "--gpus", "1", "--model", A100, "--gpu-memory", "8GiB", "--kind", "exclusive")
    assert (said["id"], said["gpus"], said["models"], said["memory"]) == ("ml", 1, [A100], 8 << 30)
    assert (said["created_by"], said["notes"]) == ("cli:olga", [])
    assert roster(admin) == {"eva": Role.INSTRUCTOR}
    shown = admin.data("course", "show", "ml")
    assert [(one["user"], one["role"], one["added_by"]) for one in shown["members"]] == [
        ("eva", "instructor", "cli:olga")
    ]
    assert shown["sessions"] == []
    page = admin.ok("course", "show", "ml")
    for words in ("Machine learning 1", f"gpu, 1 GPU, {A100}, exclusive, 8 GiB or more", "No session is planned"):
        assert words in page
    row = admin.ok("course", "list").splitlines()[1]
    for words in ("ml", "Machine learning 1", "none"):
        assert words in row
    (entry,) = admin.audit()
    assert (entry["actor"], entry["action"], entry["subject"]) == ("cli:olga", "course.create", "course ml")


def test_a_model_that_is_not_there_is_noted(admin: Admin) -> None:
    admin.inventory((A100, 1))
    assert f"no GPU of model 'A1' now; there are: {A100}" in admin.ok(*MAKE, "--gpus", "1", "--model", "A1")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--profile", "huge"), "no profile 'huge'; there are: cpu, gpu"),
        (("--data", "imagenet"), "No data set is called 'imagenet'"),
        (("--materials", "intro"), "No materials are called 'intro'"),
        (("--materials", "http://example.org/x"), "https"),
        (("--collect", "../others"), "../others"),
        (("--instructor", "a/b"), "'a/b'"),
    ],
)
def test_what_the_settings_do_not_have(admin: Admin, arguments: tuple[str, str], sentence: str) -> None:
    assert sentence in admin.refused(*MAKE, *arguments, code="invalid_option")
    assert admin.data("course", "list") == []


def test_materials_and_data_of_the_settings(admin: Admin, tmp_path: Path) -> None:
    for name in ("MATERIALS", "DATA_SETS"):
        admin.environment[f"BERTH_CLASSES__{name}"] = f'{{"intro": "{tmp_path}"}}'
    said = admin.data(*MAKE, "--data", "intro", "--materials", "intro", "--folder", "ml", "--collect", "ml/hand-in")
    assert (said["data"], said["materials"]) == ("intro", "intro")
    page = admin.ok("course", "show", "ml")
    assert "intro → ml" in page
    assert "ml/hand-in" in page


def test_names_that_cannot_be(admin: Admin) -> None:
    assert "small letter" in admin.refused(
        "course", "create", "ML 1", "--title", "x", "--instructor", "eva", "--profile", "cpu", code="invalid_option"
    )
    admin.ok(*MAKE)
    assert "course ml already" in admin.refused(*MAKE, code="course_exists")
    assert "such as" in admin.misused(*MAKE, "--gpu-memory", "much")


def test_enrol_by_name_and_from_a_file(admin: Admin, tmp_path: Path) -> None:
    admin.ok(*MAKE)
    file = tmp_path / "roster.csv"
    file.write_text("Name;Username\nAnn Smith;Ann\nBen Lee;ben\n", encoding="utf-8")
    said = admin.data("course", "enrol", "ml", "cleo", "--file", str(file))
    assert said == {"added": ["ann", "ben", "cleo"], "changed": [], "kept": []}
    assert "1 assistant added to ml" in admin.ok("course", "enrol", "ml", "tom", "--role", "assistant")
    words = admin.ok("course", "enrol", "ml", "Ann", "ben", "--role", "assistant")
    assert "0 assistants added to ml. ann, ben: now assistant." in words
    assert "Already there: cleo." in admin.ok("course", "enrol", "ml", "cleo")
    assert roster(admin)["ann"] is Role.ASSISTANT
    assert "2 students added" in admin.ok("course", "enrol", "ml", "--file", "-", input="dan\neve\n")
    assert (
        admin.data("course", "list")[0] | {"instructors": 1, "assistants": 3, "students": 3}
        == (admin.data("course", "list")[0])
    )
    file.write_text("username,role\ntom,\nfay,\ngil,assistant\ndan,assistant\n", encoding="utf-8")
    words = admin.ok("course", "enrol", "ml", "--file", str(file))
    assert "1 assistant, 1 student added to ml. dan: now assistant. Already there: tom." in words
    assert (roster(admin)["tom"], roster(admin)["gil"]) == (Role.ASSISTANT, Role.ASSISTANT)
    admin.ok("course", "enrol", "ml", "dan")  # whoever is named alone is lowered
    admin.ok("course", "expel", "ml", "fay", "gil", "--why", "x")
    shown = [one["user"] for one in admin.data("course", "show", "ml")["members"]]
    assert shown == sorted(shown)
    page = admin.ok("course", "show", "ml")
    assert page.index("eva ") < page.index("tom ") < page.index("cleo ")


def test_a_roster_with_mistakes_puts_nobody_in(admin: Admin, tmp_path: Path) -> None:
    admin.ok(*MAKE)
    file = tmp_path / "roster.csv"
    file.write_text("ann\n" + "not a name\n" * 7, encoding="utf-8")
    sentence = admin.refused("course", "enrol", "ml", "--file", str(file), code="invalid_option")
    assert "line 2: 'not a name'" in sentence
    assert "And 2 more." in sentence
    file.write_text("x" * 200_000, encoding="utf-8")
    assert "line 1: " in admin.refused("course", "enrol", "ml", "--file", str(file), code="invalid_option")
    file.write_bytes("müller\n".encode("latin-1"))
    assert "UTF-8" in admin.refused("course", "enrol", "ml", "--file", str(file), code="invalid_option")
    assert roster(admin) == {"eva": Role.INSTRUCTOR}
    assert "Name users" in admin.misused("course", "enrol", "ml")
    assert "'nowhere'" in admin.refused("course", "enrol", "nowhere", "ann", code="unknown_name")


def test_expel(admin: Admin) -> None:
    admin.ok(*MAKE)
    admin.ok("course", "enrol", "ml", "ann", "ben")
    said = admin.data("course", "expel", "ml", "Ann", "zoe", "--why", "left")
    assert said == {"removed": ["ann"], "unknown": ["zoe"]}
    words = admin.ok("course", "expel", "ml", "ben", "zoe", "--why", "left")
    assert "any more: ben" in words
    assert "anyway: zoe" in words
    assert "instructor" in admin.refused("course", "expel", "ml", "eva", "--why", "x", code="last_instructor")
    assert roster(admin) == {"eva": Role.INSTRUCTOR}
    assert admin.audit()[0]["why"] == "left"
    assert "users ben" in admin.ok("audit", "--action", "course.expel")


def test_archive_and_back(admin: Admin) -> None:
    admin.ok(*MAKE)
    assert "is archived" in admin.ok("course", "archive", "ml", "--why", "term is over")
    assert admin.data("course", "list") == []
    assert admin.data("course", "list", "--archived")[0]["archived_at"] is not None
    assert "bring it back" in admin.refused("course", "enrol", "ml", "ann", code="course_archived")
    assert "is back" in admin.ok("course", "archive", "ml", "--back", "--why", "again")
    assert admin.data("course", "list")[0]["archived_at"] is None


def test_one_that_meets_is_not_archived(admin: Admin) -> None:
    admin.ok(*MAKE)
    start = admin.desk.clock() + timedelta(days=1)
    admin.ok("session", "reserve", "ml", "--from", f"{start:%Y-%m-%d %H:%M}", "--for", "2h", "--seats", "5")
    assert "cancel them first" in admin.refused("course", "archive", "ml", "--why", "x", code="course_runs")
    assert courses.find(admin.desk, "ml").archived_at is None


def test_limits(admin: Admin) -> None:
    admin.ok(*MAKE)
    assert "ml: none." in admin.ok("course", "limits", "ml")
    assert "--why" in admin.misused("course", "limits", "ml", "--seats", "3")
    said = admin.data(
        "course", "limits", "ml", "--seats", "20", "--gpu-hours", "100", "--ahead", "8w", "--why", "agreed"
    )
    assert said == {"seats": 20, "gpu_hours": 100, "ahead_days": 56}
    assert "20 seats at a time, 100 GPU-hours in all, 56 days ahead" in admin.ok("course", "limits", "ml")
    said = admin.data("course", "limits", "ml", "--gpu-hours", "none", "--ahead", "12h", "--why", "generous")
    assert said == {"seats": 20, "gpu_hours": None, "ahead_days": 0.5}
    assert "12 h ahead" in admin.ok("course", "list")
    entry = admin.audit()[0]
    assert (entry["action"], entry["why"]) == ("course.change", "generous")
    start = admin.desk.clock() + timedelta(hours=1)
    asked = ("session", "reserve", "ml", "--from", f"{start:%Y-%m-%d %H:%M}", "--for", "2h", "--seats", "21")
    assert "may have 20" in admin.refused(*asked, code="course_limit")
