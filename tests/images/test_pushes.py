"""Files that staff send: put into a home over nothing that is there, and nowhere else. Without a container."""

import hashlib
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

_SOURCE = Path(__file__).parents[2] / "images" / "tensorflow" / "server" / "berth_lab" / "pushes.py"

Put = Callable[..., dict[str, Any]]


def _load() -> Any:
    """Take the server's module; the rest of its package needs Jupyter."""
    spec = importlib.util.spec_from_file_location("berth_lab_pushes", _SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pushes = _load()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def put(tmp_path: Path, home: Path) -> Put:
    """Send a file of some content."""
    store = tmp_path / "pushes"
    store.mkdir()

    def send(path: str, content: bytes = b"1,2\n", kept: bytes | None = None) -> dict[str, Any]:
        sha256 = hashlib.sha256(content).hexdigest()
        (store / sha256).write_bytes(content if kept is None else kept)
        push = {"id": "p1", "path": path, "sha256": sha256, "size": len(content)}
        answer: dict[str, Any] = pushes.put(push, home, store)
        return answer

    return send


def _said(outcome: str, path: str, problem: str = "") -> dict[str, str]:
    return {"push": "p1", "outcome": outcome, "path": path, "problem": problem}


def _tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: files with their content, folders and links with None."""
    found: dict[str, bytes | None] = {}
    for path in sorted(folder.rglob("*")):
        plain = path.is_file() and not path.is_symlink()
        found[str(path.relative_to(folder))] = path.read_bytes() if plain else None
    return found


def test_a_file_comes_once(put: Put, home: Path) -> None:
    assert put("week2/more/data.csv") == _said("written", "week2/more/data.csv")
    assert put("week2/more/data.csv") == _said("same", "week2/more/data.csv")
    assert _tree(home) == {"week2": None, "week2/more": None, "week2/more/data.csv": b"1,2\n"}
    assert (home / "week2/more/data.csv").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("data.csv", "data.1.csv"),
        ("data", "data.1"),
        (".env", ".env.1"),
        ("a.b.ipynb", "a.b.1.ipynb"),
        ("set.tar.gz", "set.1.tar.gz"),
    ],
)
def test_what_is_there_stays(put: Put, home: Path, name: str, beside: str) -> None:
    (home / name).write_bytes(b"my work")
    assert put(name) == _said("beside", beside)
    # Not a second time, wherever it is.
    assert put(name) == _said("same", beside)
    assert _tree(home) == {name: b"my work", beside: b"1,2\n"}
    assert put(name, b"newer")["path"] == beside.replace("1", "2", 1)


def test_an_end_is_put_to_names_beside(put: Put, home: Path) -> None:
    for number in range(100):
        (home / (f"a.{number}.csv" if number else "a.csv")).write_bytes(b"x")
    assert put("a.csv")["problem"] == "There are 100 other files of this name already."


@pytest.mark.parametrize(
    "path", ["", ".", "/", "/etc/passwd", "../a", "a/../../b", "a/..", "week1/../../../x", "a\0b", "x/" * 600 + "y"]
)
def test_nothing_leaves_the_home(put: Put, home: Path, path: str) -> None:
    before = _tree(home.parent)
    answer = put(path)
    assert (answer["outcome"], answer["problem"]) == ("failed", "This path does not lie in the home.")
    store = hashlib.sha256(b"1,2\n").hexdigest()
    assert _tree(home.parent) == before | {f"pushes/{store}": b"1,2\n"}


@given(parts=st.lists(st.sampled_from(["..", ".", "a", "b.csv", "link", "file", "", "~"]), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_no_path_gets_out(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    root = tmp_path_factory.mktemp("root")
    home, store, outside = root / "home", root / "store", root / "outside"
    for folder in (home, store, outside):
        folder.mkdir()
    (home / "link").symlink_to(outside)
    (home / "file").write_bytes(b"mine")
    sha256 = hashlib.sha256(b"new").hexdigest()
    (store / sha256).write_bytes(b"new")
    answer = pushes.put({"id": "p", "path": "/".join(parts), "sha256": sha256, "size": 3}, home, store)
    assert list(outside.iterdir()) == []
    assert {path.name for path in root.iterdir()} == {"home", "store", "outside"}
    assert (home / "file").read_bytes() == b"mine"
    if answer["outcome"] != "failed":
        assert (home / answer["path"]).read_bytes() == b"new"
    assert not list(home.rglob("*.part"))


def test_links_are_not_followed(put: Put, home: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (home / "week2").symlink_to(outside)
    told = "'week2' is a link or a file, and would have to be a folder."
    assert put("week2/data.csv") == _said("failed", "week2/data.csv", told)
    (home / "data.csv").symlink_to(outside / "data.csv")
    assert put("data.csv") == _said("beside", "data.1.csv")
    (home / "notes").write_bytes(b"")
    assert put("notes/data.csv")["outcome"] == "failed"
    assert list(outside.iterdir()) == []


def test_what_is_no_file_is_left_alone(put: Put, home: Path) -> None:
    (home / "data.csv").mkdir()
    os.mkfifo(home / "data.1.csv")
    assert put("data.csv") == _said("beside", "data.2.csv")


def test_a_file_whose_content_is_another_is_not_put_there(put: Put, home: Path) -> None:
    answer = put("data.csv", kept=b"broken")
    assert answer == _said("failed", "data.csv", "The file has another checksum than it should.")
    assert _tree(home) == {}


def test_what_has_not_come_yet_is_told(home: Path, tmp_path: Path) -> None:
    push = {"id": "p1", "path": "a", "sha256": "0" * 64, "size": 1}
    assert pushes.put(push, home, tmp_path)["problem"] == "The file is not there yet."
    for sha256 in ("", "../../etc/passwd", "Z" * 64):
        assert pushes.put(push | {"sha256": sha256}, home, tmp_path)["problem"] == "The file's checksum is none."
    assert _tree(home) == {}
