"""Materials by real git: from repositories and directories, always whole, and never from where they must not come."""

import http.server
import io
import os
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.course_directory import SEAT_UID, Places
from spawner.errors import CourseFilesFailed
from spawner.janitor import materials_snapshot
from spawner.janitor.course_collections import places_of
from spawner.janitor.course_materials import materials_steps, tidy_steps
from spawner.janitor.git import Git, _words, left_behind
from spawner.janitor.materials_fetch import fetch, public_only, resolve
from spawner.janitor.materials_snapshot import Snapshot, snapshot
from spawner.operations import courses, materials, sessions
from spawner.operations.materials import MaterialsState
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course
from spawner.policy.materials import check_materials
from spawner.settings import DEFAULT_IMAGE
from spawner.state import StateDirectory

from ..support.office import HOUR, MINUTE, NOW
from .conftest import Watch

URL = "https://git.example.org/course.git"


def git(at: Path, *arguments: str) -> str:
    who = {"GIT_AUTHOR_NAME": "Ines", "GIT_AUTHOR_EMAIL": "i@example.org"}
    who |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in who.items()}
    clean = {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": str(at)}
    command = ["git", "-C", str(at), *arguments]
    return subprocess.run(command, env=clean | who, check=True, capture_output=True, text=True).stdout.strip()


def write(at: Path, path: str, content: str) -> None:
    file = at / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    """A repository that an instructor works in."""
    made = tmp_path / "upstream"
    made.mkdir()
    git(made, "init", "-q", "-b", "trunk")
    commit(made, "week 1/a.ipynb", "{}")
    return made


def commit(upstream: Path, path: str, content: str) -> str:
    write(upstream, path, content)
    git(upstream, "add", "-A")
    git(upstream, "commit", "-qm", "more")
    return git(upstream, "rev-parse", "HEAD")


@pytest.fixture
def mirror(tmp_path: Path) -> Git:
    """A course's repository, which may come from another directory, as only tests allow."""
    return Git(Places(tmp_path / "courses").course("ml").create().materials, protocols="file")


def cloned(mirror: Git) -> dict[str, str]:
    """Clone as a seat does; gives the files."""
    at = mirror.directory.parent / "clone"
    subprocess.run(["rm", "-rf", str(at)], check=True)
    command = ["git", "-c", f"safe.directory={mirror.directory}", "clone", "-q", f"file://{mirror.directory}", str(at)]
    config = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    home = mirror.directory.parent
    (home / ".gitconfig").write_text("[safe]\n\tdirectory = *\n")
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **config, "HOME": str(home)})
    (home / ".gitconfig").unlink()
    paths = sorted(path for path in at.rglob("*") if ".git" not in path.parts and not path.is_dir())
    return {
        str(path.relative_to(at)): path.readlink().name if path.is_symlink() else path.read_text() for path in paths
    }


# --- from a repository ------------------------------------------------------------------------------------------------


def test_a_repository_and_its_changes(mirror: Git, upstream: Path) -> None:
    got = fetch(mirror, f"file://{upstream}", "")
    assert (got.branch, got.commit) == ("trunk", git(upstream, "rev-parse", "HEAD"))
    assert cloned(mirror) == {"week 1/a.ipynb": "{}"}
    newest = commit(upstream, "week 2/b.ipynb", "[]")
    assert fetch(mirror, f"file://{upstream}", "").commit == newest
    assert cloned(mirror) == {"week 1/a.ipynb": "{}", "week 2/b.ipynb": "[]"}
    assert fetch(mirror, f"file://{upstream}", "").commit == newest


def test_a_branch_that_is_named_and_history_that_is_rewritten(mirror: Git, upstream: Path) -> None:
    fetch(mirror, f"file://{upstream}", "")
    git(upstream, "checkout", "-qb", "autumn/2027")
    commit(upstream, "c", "autumn")
    git(upstream, "checkout", "-q", "trunk")
    got = fetch(mirror, f"file://{upstream}", "autumn/2027")
    assert got.branch == "autumn/2027"
    assert "c" in cloned(mirror)
    assert mirror.run("for-each-ref", "--format=%(refname)", what="").split() == ["refs/heads/autumn/2027"]
    git(upstream, "checkout", "-q", "--orphan", "other")
    newest = commit(upstream, "d", "new")
    git(upstream, "branch", "-f", "autumn/2027", "other")
    assert fetch(mirror, f"file://{upstream}", "autumn/2027").commit == newest


def test_what_fails_leaves_what_there_was(mirror: Git, upstream: Path, tmp_path: Path) -> None:
    fetch(mirror, f"file://{upstream}", "")
    with pytest.raises(CourseFilesFailed, match=r"cannot be fetched: couldn't find remote ref refs/heads/none\."):
        fetch(mirror, f"file://{upstream}", "none")
    with pytest.raises(CourseFilesFailed, match="does not appear to be a git repository"):
        fetch(mirror, f"file://{tmp_path}/nowhere", "")
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q", "--bare")
    with pytest.raises(CourseFilesFailed, match="the repository is empty"):
        fetch(mirror, f"file://{tmp_path}/empty", "")
    assert cloned(mirror) == {"week 1/a.ipynb": "{}"}


@pytest.mark.parametrize(
    "address", ["file:///etc", "ssh://git@localhost/x", "ext::sh -c touch% /tmp/owned", "git://h/x"]
)
def test_git_itself_speaks_https_only(tmp_path: Path, address: str) -> None:
    strict = Git(Places(tmp_path).course("ml").create().materials)
    with pytest.raises(CourseFilesFailed, match=r"transport '.*' not allowed"):
        fetch(strict, address, "main")
    with pytest.raises(CourseFilesFailed):
        fetch(strict, address, "")


def test_no_hook_and_nobodys_configuration(
    mirror: Git, upstream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(mirror, f"file://{upstream}", "")
    (mirror.directory / "hooks").mkdir(exist_ok=True)
    trap = f"#!/bin/sh\ntouch {tmp_path}/owned\n"
    for hook in ("reference-transaction", "post-update", "update", "pre-auto-gc"):
        (mirror.directory / "hooks" / hook).write_text(trap)
        (mirror.directory / "hooks" / hook).chmod(0o755)
    (tmp_path / ".gitconfig").write_text(f"[core]\n\thooksPath = {mirror.directory}/hooks\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / ".gitconfig"))
    commit(upstream, "b", "more")
    fetch(mirror, f"file://{upstream}", "")
    assert not (tmp_path / "owned").exists()


def test_a_server_that_hangs(upstream: Path, tmp_path: Path) -> None:
    """Git is ended, with all that it started."""
    impatient = Git(Places(tmp_path).course("ml").create().materials, protocols="ext", patience=1.5)
    began = time.monotonic()
    with pytest.raises(CourseFilesFailed, match=r"git has not ended within 1\.5 s"):
        fetch(impatient, "ext::sleep 987", "")
    assert time.monotonic() - began < 60
    assert subprocess.run(["pgrep", "-f", "sleep 987"], capture_output=True, check=False).stdout == b""


@pytest.mark.parametrize("files", [1, 150])
def test_a_repository_that_is_too_large(
    mirror: Git, upstream: Path, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    """Said so, however git says it; and what it has written by then is gone, or each try would leave as much."""
    for number in range(files):
        (upstream / f"f{number}").write_bytes(os.urandom(3000))
    (upstream / "large").write_bytes(os.urandom(300_000))
    commit(upstream, "b", "more")
    monkeypatch.setattr("spawner.janitor.git._LARGEST", 100_000)
    with pytest.raises(CourseFilesFailed, match="it is too large; give large files to seats as a data set"):
        fetch(mirror, f"file://{upstream}", "")
    assert left_behind(mirror.directory) == []
    assert size_of(mirror) < 10_000


def size_of(mirror: Git) -> int:
    return sum(path.stat().st_size for path in mirror.directory.rglob("*") if path.is_file())


def test_a_history_that_is_replaced_again_and_again(
    mirror: Git, upstream: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spawner.janitor.git._MOST", 500_000)
    for number in range(6):
        (upstream / "large").write_bytes(os.urandom(200_000))
        git(upstream, "add", "-A")
        git(upstream, "commit", "-q", "--amend", "-m", str(number))
        fetch(mirror, f"file://{upstream}", "")
    assert size_of(mirror) < 800_000
    monkeypatch.setattr("spawner.janitor.git._MOST", 100_000)
    with pytest.raises(CourseFilesFailed, match="it is too large"):
        fetch(mirror, f"file://{upstream}", "")


def test_a_disk_that_is_almost_full(mirror: Git, upstream: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spawner.janitor.git._SPARE", 1 << 60)
    with pytest.raises(CourseFilesFailed, match="the hub's disk is almost full; tell an admin"):
        fetch(mirror, f"file://{upstream}", "")


def test_a_connection_that_breaks_is_not_too_large() -> None:
    said = b"fatal: early EOF\nfatal: fetch-pack: invalid index-pack output\n"
    assert _words(io.BytesIO(said), 128) == "early EOF fetch-pack: invalid index-pack output."


def test_what_git_leaves_when_it_is_ended_goes(mirror: Git, upstream: Path, source: Path) -> None:
    """Whatever ended it: its time, a directory that is being changed, or this process' own end."""
    fetch(mirror, f"file://{upstream}", "")

    def feed() -> None:
        with mirror.running("fast-import", "--quiet", "--force", what="", feed=True) as process:
            assert process.stdin is not None
            process.stdin.write(b"blob\ndata 300000\n" + os.urandom(300_000) + b"\nblob\ndata 300000\n")
            process.stdin.flush()
            wait_for(lambda: bool(left_behind(mirror.directory)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        feed()
    assert left_behind(mirror.directory) == []
    at = mirror.directory / "objects"
    (at / "ab").mkdir(exist_ok=True)
    left = ["pack/tmp_pack_x1", "pack/.tmp-12-pack-ab.pack", "pack/pack-ab.pack.temp", "ab/tmp_obj_x1", "ab/cd.temp"]
    for name in left:
        (at / name).write_bytes(b"x")
    assert len(left_behind(mirror.directory)) == len(left)
    snapshot(mirror, source, "", NOW)
    assert left_behind(mirror.directory) == []
    assert cloned(mirror)["run.sh"] == "#!/bin/sh\n"


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    assert true()


def test_git_is_missing(mirror: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CourseFilesFailed, match="apt-get install git"):
        fetch(mirror, URL, "")


def test_seats_that_clone_meanwhile_get_old_or_new(mirror: Git, upstream: Path) -> None:
    """Two files always belong together, whatever is pushed while seats clone."""
    address, over, problems = f"file://{upstream}", threading.Event(), list[object]()
    commit(upstream, "a", "0")
    commit(upstream, "b", "0")
    fetch(mirror, address, "")

    def publish() -> None:
        for number in range(1, 200):
            if over.is_set():
                return
            write(upstream, "a", str(number))
            commit(upstream, "b", str(number))
            try:
                fetch(mirror, address, "")
            except Exception as error:  # noqa: BLE001  told to the test
                problems.append(error)

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        for _ in range(8):
            files = cloned(mirror)
            assert files["a"] == files["b"]
    finally:
        over.set()
        publisher.join()
    assert problems == []


@pytest.mark.image
@pytest.mark.docker
@pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")
def test_a_seat_clones_it(mirror: Git, upstream: Path, client: docker.APIClient) -> None:
    """As its user, through a read-only mount, without any setting of git's."""
    fetch(mirror, f"file://{upstream}", "")
    inside = "/opt/berth/course/materials.git"
    script = f"git clone -q file://{inside} /tmp/a && git clone -q {inside} /tmp/b && cat '/tmp/a/week 1/a.ipynb'"
    container = client.create_container(
        DEFAULT_IMAGE,
        ["sh", "-c", f"{script} && ! touch {inside}/x 2> /dev/null"],
        user="1000:100",
        entrypoint=[],
        host_config=client.create_host_config(binds={str(mirror.directory): {"bind": inside, "mode": "ro"}}),
    )["Id"]
    try:
        client.start(container)
        status = client.wait(container)["StatusCode"]
        said = client.logs(container).decode()
    finally:
        client.remove_container(container, force=True)
    assert status == 0, said
    assert said.startswith("{}")


# --- hosts ------------------------------------------------------------------------------------------------------------


def test_hosts_in_private_networks() -> None:
    def look(*addresses: str) -> list[str]:
        return public_only(URL, (), lambda _host, _port: list(addresses))

    assert look("93.184.216.34") == ["http.curloptResolve=git.example.org:443:93.184.216.34"]
    assert look("93.184.216.34", "2606:2800::1")[0].endswith(":93.184.216.34,[2606:2800::1]")
    private = ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"]
    private += ["::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "224.0.0.1"]
    for address in private:
        with pytest.raises(CourseFilesFailed, match=r"git\.example\.org is in a private network.*classes\.git_hosts"):
            look("93.184.216.34", address)
    with pytest.raises(CourseFilesFailed):
        look()
    assert public_only(URL, ["git.example.org"], lambda _host, _port: ["127.0.0.1"]) == []


def test_names_are_looked_up() -> None:
    assert "127.0.0.1" in resolve("localhost", 443)
    with pytest.raises(CourseFilesFailed, match="localhost is in a private network"):
        public_only("https://localhost/x.git", ())
    with pytest.raises(CourseFilesFailed, match=r"The host nowhere\.invalid cannot be found"):
        public_only("https://nowhere.invalid/x.git", ())


@pytest.mark.parametrize(
    "address",
    [
        *(
            "http://git.example.org/a",
            "file:///etc",
            "ssh://git@h/a",
            "git@github.com:a/b.git",
            "ext::sh -c id",
            "//h/a",
        ),
        *("https://u:p@git.example.org/a", "https://token@git.example.org/a", "https:///a", "https://", "https://h"),
        *("https://h/a?x=1", "https://h/a#b", "https://h/a b", "https://h/a\nb", "https://[::1/a", "https://h:0/a"),
        *("https://h:99999/a", "https://127.0.0.1/a", "https://[::1]/a", "https://10.0.0.1:8443/a"),
        *("../../etc", "/etc", "https://h/" + "a" * 500, "https://häuser.de/a"),
    ],
)
def test_addresses_that_are_refused(address: str) -> None:
    answer = check_materials(address)
    assert answer is not None
    assert answer.code == "invalid_option"


def test_addresses_that_may_be() -> None:
    assert check_materials("") is None
    assert check_materials(URL, "main") is None
    assert check_materials("https://git.example.org:8443/~ines/a+b/c_d.git", "2027/autumn.1") is None
    assert check_materials("intro", offered=["intro"]) is None
    assert check_materials(URL, hosts=["GIT.example.org"]) is None
    told = check_materials(URL, hosts=["git.example.com"])
    assert told is not None
    assert told.reason == "Materials may come from git.example.com, and not from git.example.org; ask an admin."
    told = check_materials("outro", offered=["intro"])
    assert told is not None
    assert "there are: intro" in told.reason


@given(
    st.text(max_size=20) | st.sampled_from(["-x", "a..b", "a.lock", "/a", "a/", "a//b", "@{-1}", "a:b", ".a", "a b"])
)
def test_branches_are_no_options(branch: str) -> None:
    if branch and check_materials("", branch) is None:
        done = subprocess.run(["git", "check-ref-format", f"refs/heads/{branch}"], check=False)
        assert done.returncode == 0
        assert not branch.startswith(("-", "+"))
        assert ":" not in branch


# --- from a directory -------------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    made = tmp_path / "source"
    write(made, "week 1/a.ipynb", "{}")
    write(made, "run.sh", "#!/bin/sh\n")
    (made / "run.sh").chmod(0o755)
    return made


def taken(mirror: Git, source: Path, known: str = "") -> Snapshot:
    return snapshot(mirror, source, known, NOW)


def commits(mirror: Git) -> int:
    return int(mirror.run("rev-list", "--count", "HEAD", what=""))


def test_a_directory_and_its_changes(mirror: Git, source: Path) -> None:
    first = taken(mirror, source)
    assert first.fetched is not None
    assert (first.fetched.branch, first.left_out) == ("main", ())
    assert cloned(mirror) == {"run.sh": "#!/bin/sh\n", "week 1/a.ipynb": "{}"}
    assert os.access(mirror.directory.parent / "clone" / "run.sh", os.X_OK)
    assert taken(mirror, source, first.fingerprint) == replace(first, fetched=None)
    write(source, "week 2/b", "new")
    (source / "run.sh").unlink()
    second = taken(mirror, source, first.fingerprint)
    assert second.fetched is not None
    assert cloned(mirror) == {"week 1/a.ipynb": "{}", "week 2/b": "new"}
    assert commits(mirror) == 2
    # Touched, and the same: no commit that says nothing.
    os.utime(source / "week 2" / "b", (5, 5))
    third = taken(mirror, source, second.fingerprint)
    assert third.fetched == second.fetched
    assert commits(mirror) == 2
    assert mirror.run("for-each-ref", "--format=%(refname)", what="").split() == ["refs/heads/main"]


def test_homes_go_on_from_what_they_have(mirror: Git, source: Path, upstream: Path) -> None:
    git(upstream, "branch", "-m", "main")
    before = fetch(mirror, f"file://{upstream}", "").commit
    after = taken(mirror, source).fetched
    assert after is not None
    assert mirror.run("merge-base", before, after.commit, what="").strip() == before
    assert "run.sh" in cloned(mirror)


def test_names_of_any_bytes(mirror: Git, source: Path) -> None:
    names = [b"caf\xe9", b'a"b', b"back\\slash", b"tab\there", "übung".encode(), b"-rf", b"a\nb", b" lead", b"x" * 200]
    for name in names:
        Path(os.fsdecode(bytes(source) + b"/" + name)).write_bytes(name)
    taken(mirror, source)
    listed = mirror.run("ls-tree", "-rz", "--name-only", "HEAD", what="")
    with mirror.running("ls-tree", "-rz", "--name-only", "HEAD", what="") as process:
        listed_bytes = process.communicate()[0].split(b"\0")
    assert listed
    assert set(names) <= set(listed_bytes)


def test_what_is_left_out(mirror: Git, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(materials_snapshot, "_LARGEST", 1000)
    write(tmp_path, "secret", "of others")
    write(source, "large", "x" * 1001)
    write(source, ".git/config", "[core]")
    write(source, "sub/.GIT/config", "[core]")
    write(source, "__pycache__/a.pyc", "")
    write(source, ".gitignore", "run.sh\n")
    os.mkfifo(source / "pipe")
    (source / "away").symlink_to(tmp_path / "secret")
    (source / "up").symlink_to("../secret")
    (source / "folder").symlink_to(tmp_path)
    (source / "week 1" / "near").symlink_to("../run.sh")
    found = taken(mirror, source)
    assert sorted(found.left_out) == [
        ".git: part of a git repository",
        "away: a link that leads elsewhere",
        "folder: a link that leads elsewhere",
        "large: larger than 0 MiB; give it to seats as a data set",
        "pipe: neither a file nor a folder",
        "sub/.GIT: part of a git repository",
        "up: a link that leads elsewhere",
    ]
    assert cloned(mirror) == {
        "run.sh": "#!/bin/sh\n",
        "week 1/a.ipynb": "{}",
        "week 1/near": "run.sh",
    } | {name: text for name, text in cloned(mirror).items() if name == ".gitignore"}


def test_more_than_homes_can_have(mirror: Git, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = taken(mirror, source)
    monkeypatch.setattr(materials_snapshot, "_MOST_FILES", 1)
    with pytest.raises(CourseFilesFailed, match=r"are 2 files of 0 MiB; homes get at most 1.*as a data set"):
        taken(mirror, source, first.fingerprint)
    with pytest.raises(CourseFilesFailed, match="No such file or directory"):
        taken(mirror, source / "nowhere")
    assert len(cloned(mirror)) == 2


@pytest.mark.parametrize("change", ["shorter", "longer", "gone", "link"])
def test_a_directory_that_changes_meanwhile(
    mirror: Git, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    first = taken(mirror, source)
    write(source, "b", "three")
    write(tmp_path, "secret", "thief")
    real = materials_snapshot._look

    def look(at: Path) -> object:
        found = real(at)
        (source / "b").unlink()
        if change == "link":
            (source / "b").symlink_to(tmp_path / "secret")
        elif change != "gone":
            write(source, "b", "2" if change == "shorter" else "longer than that")
        return found

    monkeypatch.setattr(materials_snapshot, "_look", look)
    with pytest.raises(CourseFilesFailed, match="b is being changed; the materials are read again soon"):
        taken(mirror, source, first.fingerprint)
    assert "b" not in cloned(mirror)
    assert commits(mirror) == 1


# --- the loop ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def there(watch: Watch, source: Path) -> Watch:
    StateDirectory(watch.post.settings.state_dir).create()
    watch.settings(classes={"materials": {"intro": source}})
    courses.create(watch.office.desk, Course("ml", "ML", "cpu", "", NOW, materials="intro"), "ines")
    courses.create(watch.office.desk, Course("art", "Art", "cpu", "", NOW), "otto")
    return watch


def state(watch: Watch) -> MaterialsState:
    found = materials.state_of(places_of(watch.post), "ml")
    assert found is not None
    return found


def test_materials_are_looked_at_once_and_then_seldom(there: Watch) -> None:
    assert materials.state_of(places_of(there.post), "ml") is None
    assert [step.text for step in there.look(materials_steps)] == ["look at the materials of ml, from intro"]
    assert there.turn(materials_steps) == [True]
    found = state(there)
    assert (found.source, found.problem, found.fresh_at, found.branch, len(found.commit)) == (
        "intro",
        "",
        NOW,
        "main",
        40,
    )
    assert there.look(materials_steps) == []
    there.office.wait(6 * HOUR)
    assert there.turn(materials_steps) == [False]
    assert state(there) == replace(found, tried_at=NOW + 6 * HOUR, fresh_at=NOW + 6 * HOUR)


def test_fresh_before_a_session_and_in_it(there: Watch, source: Path) -> None:
    there.turn(materials_steps)
    plan = Plan("ml", [(NOW + 2 * HOUR, NOW + 3 * HOUR)], 2)
    answer = sessions.book(there.office.desk, plan, "ines")
    assert isinstance(answer, Planned)
    [session] = answer.sessions
    there.office.clock.now = session.starts_at - session.lead - 11 * MINUTE
    assert there.look(materials_steps) == []
    there.office.wait(MINUTE)
    write(source, "b", "new")
    assert there.turn(materials_steps) == [True]
    assert there.look(materials_steps) == []
    there.office.wait(3 * MINUTE)
    assert there.turn(materials_steps) == [False]
    there.office.clock.now = session.ends_at
    assert there.look(materials_steps) == []
    sessions.cancel(there.office.desk, session.id, "ines", "")


def test_another_source_is_looked_at_at_once(there: Watch) -> None:
    there.turn(materials_steps)
    before = state(there)
    courses.change(there.office.desk, "ml", "ines", materials="outro")
    assert there.turn(materials_steps) == [True]
    found = state(there)
    assert found.problem == "No materials are called 'outro' here; there are: intro. Or give an https address."
    assert (found.commit, found.fresh_at) == (before.commit, None)  # seats still get what there was
    assert there.look(materials_steps) == []
    there.office.wait(30 * MINUTE)
    assert there.turn(materials_steps) == [False]
    courses.change(there.office.desk, "ml", "ines", materials="https://localhost/x.git")
    there.turn(materials_steps)
    assert state(there).problem.startswith("localhost is in a private network")
    courses.change(there.office.desk, "ml", "ines", materials="intro")
    assert there.turn(materials_steps) == [True]
    assert state(there).problem == ""


def test_what_fails_again_and_again_is_tried_less_and_less(there: Watch) -> None:
    answer = sessions.book(there.office.desk, Plan("ml", [(NOW + HOUR, NOW + 5 * HOUR)], 2), "ines")
    assert isinstance(answer, Planned)
    there.office.clock.now = answer.sessions[0].starts_at

    def waits() -> list[int]:
        """Fail some times; gives the minutes between."""
        minutes = []
        for _ in range(6):
            there.turn(materials_steps)
            before = there.office.clock.now
            while not there.look(materials_steps):
                there.office.wait(MINUTE)
            minutes.append((there.office.clock.now - before) // MINUTE)
        return minutes

    courses.change(there.office.desk, "ml", "ines", materials="https://localhost/x.git")
    assert waits() == [1, 2, 4, 8, 10, 10]
    # Something else that is wrong is something new, and so is what went well in between.
    courses.change(there.office.desk, "ml", "ines", materials="https://127.0.0.1/x.git")
    assert waits()[0] == 1
    courses.change(there.office.desk, "ml", "ines", materials="intro")
    there.turn(materials_steps)
    assert (state(there).problem, state(there).failures) == ("", 0)
    courses.change(there.office.desk, "ml", "ines", materials="https://127.0.0.1/x.git")
    assert waits()[0] == 1


def test_outside_of_classes_it_is_tried_seldom(there: Watch) -> None:
    courses.change(there.office.desk, "ml", "ines", materials="https://localhost/x.git")
    hours = []
    for _ in range(6):
        there.turn(materials_steps)
        before = there.office.clock.now
        while not there.look(materials_steps):
            there.office.wait(10 * MINUTE)
        hours.append((there.office.clock.now - before) / HOUR)
    assert hours == [0.5, 1, 2, 4, 6, 6]


def test_a_note_that_cannot_be_read(there: Watch) -> None:
    there.turn(materials_steps)
    before = state(there)
    for text in ("", "[]", "{}", '{"source": 1}', '{"tried_at": "x", "fresh_at": null}'):
        places_of(there.post).course("ml").materials_note.write_text(text)
        assert materials.state_of(places_of(there.post), "ml") is None
    assert there.turn(materials_steps) == [True]
    assert state(there).commit == before.commit


@pytest.fixture
def server(tmp_path: Path, upstream: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, Path]]:
    """A repository behind https; gives the port and the authority that vouches for it."""
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    at = tmp_path / "www"
    at.mkdir()
    git(at, "clone", "-q", "--bare", str(upstream), "course.git")
    git(at / "course.git", "update-server-info")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(at))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            if self.path.startswith("/elsewhere.git"):
                self.send_response(302)
                self.send_header("Location", self.path.replace("elsewhere", "course"))
                self.end_headers()
            else:
                super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    made.socket = context.wrap_socket(made.socket, server_side=True)
    threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    yield made.server_port, certificate
    made.shutdown()
    made.server_close()


def test_over_https(there: Watch, server: tuple[int, Path], upstream: Path) -> None:
    port, certificate = server

    def look_at(name: str) -> MaterialsState:
        courses.change(there.office.desk, "ml", "ines", materials=f"https://localhost:{port}/{name}.git")
        there.turn(materials_steps)
        there.office.wait(30 * MINUTE)
        return state(there)

    there.settings(classes={"git_hosts": ["localhost"]})
    assert "certificate" in look_at("course").problem
    StateDirectory(there.post.settings.state_dir).certificates.write_text(certificate.read_text())
    there.turn(materials_steps)
    assert (state(there).problem, state(there).commit) == ("", git(upstream, "rev-parse", "HEAD"))
    assert "cannot be fetched" in look_at("elsewhere").problem  # who redirects could redirect anywhere
    assert "not found" in look_at("none").problem


def test_a_name_that_leads_elsewhere_by_now(tmp_path: Path, server: tuple[int, Path]) -> None:
    """Git goes to the address that was looked at, whatever the name leads to then."""
    port, certificate = server
    pinned = Git(Places(tmp_path).course("ml").create().materials, certificates=certificate, patience=20)
    address = f"https://localhost:{port}/course.git"
    got = fetch(pinned, address, "trunk", [f"http.curloptResolve=localhost:{port}:127.0.0.1"])
    assert got.commit
    with pytest.raises(CourseFilesFailed, match=r"[Cc]onnect"):
        fetch(pinned, address, "trunk", [f"http.curloptResolve=localhost:{port}:127.0.0.2"])


# --- what nobody needs ------------------------------------------------------------------------------------------------


def test_what_nobody_knows_goes(there: Watch) -> None:
    at = places_of(there.post).course("ml").create()
    left = [at.path / ".part-0123", at.pushes / ("ab" * 32), at.materials / "objects" / "pack" / "tmp_pack_x1"]
    left[-1].parent.mkdir(parents=True)
    for path in left:
        path.write_bytes(b"x")
    assert there.look(tidy_steps) == []  # somebody may be at it
    for path in left:
        os.utime(path, (time.time() - 7200,) * 2)
    assert [step.text for step in there.look(tidy_steps)] == ["remove 3 files of ml that nobody knows"]
    assert there.turn(tidy_steps) == [True]
    assert not any(path.exists() for path in left)
    assert at.materials.stat().st_uid == (SEAT_UID if os.geteuid() == 0 else os.geteuid())
