"""A course's materials in a home: nothing of its user's is lost, and whatever staff push arrives."""

import json
import shlex
from collections.abc import Callable

import pytest
from docker.models.containers import Container

pytestmark = [pytest.mark.docker, pytest.mark.image]

HOME = "/home/jovyan/ml"
WORK = "/tmp/work"
BARE = "/tmp/course.git"


class Class:
    """Staff, who push to a repository, and a student's home that has its materials."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self.staff(f"git init --quiet --bare -b main {BARE}; git init --quiet -b main {WORK}", "/tmp")

    def shell(self, script: str, folder: str) -> str:
        names = {
            f"GIT_{who}_{what}": "ines@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        done = self._container.exec_run(["sh", "-ec", script], workdir=folder, environment=names)
        assert isinstance(done.output, bytes)
        assert done.exit_code == 0, done.output.decode()
        return done.output.decode()

    def staff(self, script: str, folder: str = WORK) -> None:
        self.shell(script, folder)

    def push(self, script: str = "", commit: str = "commit -m change") -> None:
        """Change the course's files."""
        self.staff(f"{script}\ngit add --all --force .\ngit {commit} --quiet --allow-empty\n{_push('main')}")

    def student(self, script: str) -> str:
        return self.shell(script, HOME)

    def fetch(self) -> str:
        """Fetch them into the home; says what became of it."""
        script = f"BERTH_COURSE=ml /opt/berth/bin/berth-materials {BARE} || true"
        answer = json.loads(self.shell(script, "/"))
        return f"{answer['state']}{answer['problem']}"

    def files(self) -> dict[str, str]:
        """Give what is in the folder; what was moved aside without the time."""
        script = "find . -path ./.git -prune -o -type f -print0"
        names = [name for name in self.student(script).split("\0") if name]
        found = {name[2:]: self.student(f"cat {shlex.quote(name)}").strip() for name in names}
        return {_without_time(name): content for name, content in found.items()}


def _push(branch: str) -> str:
    return f"git push --quiet --force {BARE} HEAD:{branch}"


def _without_time(name: str) -> str:
    before, sign, after = name.partition("__20")
    return f"{before}__{after[12:]}" if sign else name


@pytest.fixture
def course(start: Callable[..., Container]) -> Class:
    return Class(start(["sleep", "infinity"]))


def test_what_git_ignores_is_moved_aside_whatever_it_is_called(course: Class) -> None:
    course.push("printf '*.csv\\nout\\n' > .gitignore; echo a > a.csv")
    assert course.fetch() == "new"
    course.student("""echo mine > Lösung.csv; echo mine > c.csv; echo mine > 'q"t.csv'; echo mine > out""")
    course.push(
        """git mv a.csv c.csv; echo staff > Lösung.csv; echo staff > 'q"t.csv'; mkdir out; echo staff > out/x.csv"""
    )
    assert course.fetch() == "updated"
    assert course.files() == {
        ".gitignore": "*.csv\nout",
        "Lösung.csv": "staff",
        "Lösung__.csv": "mine",
        "c.csv": "a",
        "c__.csv": "mine",
        'q"t.csv': "staff",
        'q"t__.csv': "mine",
        "out/x.csv": "staff",
        "out__": "mine",
    }
    assert course.fetch() == "unchanged"


def test_files_that_got_another_name_stop_nobody(course: Class) -> None:
    course.push("echo one > a.txt; echo two > Übung1.txt; seq 20 > n.txt; echo three > b.txt")
    course.fetch()
    course.student("rm a.txt Übung1.txt b.txt; echo mine > c.txt; echo mine > Übung2.txt; echo more >> n.txt")
    course.push("git mv a.txt c.txt; git rm --quiet Übung1.txt; git mv b.txt Übung2.txt; git mv n.txt m.txt")
    assert course.fetch() == "updated"
    assert course.files() == {
        "c.txt": "one",
        "c__.txt": "mine",
        "Übung2.txt": "three",
        "Übung2__.txt": "mine",
        "m.txt": "\n".join([*map(str, range(1, 21)), "more"]),
    }


def _numbers(**changed: str) -> str:
    return "\n".join(changed.get(f"n{number}", str(number)) for number in range(1, 31))


def test_an_amended_push_is_a_change_like_any_other(course: Class) -> None:
    course.push("seq 30 > n.txt")
    course.push("echo one > a.txt")
    assert course.fetch() == "new"
    course.student("sed -i s/^5$/mine/ n.txt")
    course.push("sed -i s/^20$/staff/ n.txt", "commit --amend -m again")
    assert course.fetch() == "updated"
    assert course.files() == {"a.txt": "one", "n.txt": _numbers(n5="mine", n20="staff")}
    # Once more in the same line, which is nobody's work in the home; and JupyterLab's git has fetched it already.
    course.push("sed -i s/^staff$/better/ n.txt", "commit --amend -m again")
    course.student("git fetch --quiet --all")
    assert course.fetch() == "updated"
    assert course.files() == {"a.txt": "one", "n.txt": _numbers(n5="mine", n20="better")}
    assert course.fetch() == "unchanged"
    course.push("echo two > b.txt")
    assert course.fetch() == "updated"
    assert course.files() == {"a.txt": "one", "b.txt": "two", "n.txt": _numbers(n5="mine", n20="better")}
    # What staff take back is taken back.
    course.staff(f"git reset --quiet --hard HEAD~1; {_push('main')}")
    assert course.fetch() == "updated"
    assert course.files() == {"a.txt": "one", "n.txt": _numbers(n5="mine", n20="better")}


def test_another_repository_takes_the_place_of_the_first(course: Class) -> None:
    course.push("seq 30 > n.txt; echo one > a.txt; echo two > b.txt")
    course.fetch()
    course.student("sed -i s/^5$/mine/ n.txt; echo more >> b.txt; echo own > own.txt")
    course.staff(f"mv {BARE} {BARE}.first; git init --quiet --bare -b dev {BARE}")
    course.staff(
        f"rm -rf .git a.txt b.txt; git init --quiet -b dev; sed -i s/^20$/staff/ n.txt; git add .; "
        f"git commit --quiet -m other; {_push('dev')}"
    )
    assert course.fetch() == "updated"
    left = {"b.txt": "two\nmore", "own.txt": "own"}
    assert course.files() == {**left, "n.txt": _numbers(n5="mine", n20="staff")}
    assert course.fetch() == "unchanged"
    course.student("git fetch --quiet")  # as links of nbgitpuller do
    course.staff(f"mv {BARE} {BARE}.second; mv {BARE}.first {BARE}")
    assert course.fetch() == "updated"
    assert course.files() == {**left, "a.txt": "one", "n.txt": _numbers(n5="mine")}
    assert course.fetch() == "unchanged"
