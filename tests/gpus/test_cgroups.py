from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from spawner.errors import LimitRefused
from spawner.gpus.cgroups import cgroup_of, container_ids, container_of, limit_device_memory, read_capacity, regions_of

from ..support.tiny_image import ensure_tiny_image

ONE, OTHER = "0123456789abcdef" * 4, "fedcba9876543210" * 4
REGION = "drm/0000:3b:00.0/vram0"
GIB = 1 << 30

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Make a /proc in which process 7 has these control groups."""

    def write(text: str) -> Path:
        (tmp_path / "7").mkdir()
        (tmp_path / "7" / "cgroup").write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (f"0::/docker/{ONE}\n", (ONE,)),
        (f"0::/system.slice/docker-{ONE}.scope\n", (ONE,)),
        (f"0::/system.slice/docker-{ONE}.scope/init (deleted)\n", (ONE,)),
        (f"12:pids:/docker/{ONE}\n3:cpu,cpuacct:/docker/{ONE}\n1:name=systemd:/docker/{ONE}\n0::/\n", (ONE,)),
        (f"12:pids:/user.slice\n3:memory:/docker/{ONE}\n0::/\n", (ONE,)),
        (f"0::/docker/{ONE}/docker/{OTHER}\n", (ONE, OTHER)),
        (f"0::/../{ONE}\n", (ONE,)),
        (f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ONE}.scope\n", (ONE,)),
        (f"0::/parent/berth:1/{ONE}\n", (ONE,)),
        ("0::/user.slice/user-1000.slice/session-2.scope\n", ()),
        (f"0::/docker/{ONE}0\n", ()),  # 65 digits
        (f"0::/docker/{ONE[:-1]}\n", ()),
        ("", ()),
        ("nonsense\n", ()),
    ],
)
def test_container_ids(write: Write, text: str, ids: tuple[str, ...]) -> None:
    proc = write(text)
    assert container_ids(7, proc) == ids
    assert container_of(7, {ONE, "x"}, proc) == (ONE if ONE in ids else None)
    assert container_of(7, {OTHER}, proc) == (OTHER if OTHER in ids else None)
    assert container_of(7, set(), proc) is None


def test_a_process_that_is_gone(tmp_path: Path) -> None:
    assert container_ids(7, tmp_path) == ()
    assert cgroup_of(7, tmp_path) is None


def test_the_unified_group(write: Write, tmp_path: Path) -> None:
    proc = write(f"4:memory:/elsewhere\n0::/system.slice/docker-{ONE}.scope\n")
    assert cgroup_of(7, proc, tmp_path) == tmp_path / f"system.slice/docker-{ONE}.scope"


def test_a_host_without_a_unified_group(write: Write) -> None:
    assert cgroup_of(7, write("4:memory:/docker/x\n")) is None


@pytest.fixture
def container() -> Iterator[tuple[str, int]]:
    """A real container, and the pid of its first process."""
    client = docker.APIClient(version="auto")
    made = client.create_container(ensure_tiny_image(client))["Id"]
    client.start(made)
    yield made, client.inspect_container(made)["State"]["Pid"]
    client.remove_container(made, force=True)
    client.close()


@pytest.mark.docker
def test_the_container_of_a_real_process(container: tuple[str, int]) -> None:
    made, pid = container
    assert container_of(pid, {made, ONE}) == made
    assert made in container_ids(pid)
    assert container_of(1, {made, ONE}) is None


# --- dmem ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    """A unified hierarchy with a container, in files that keep what is written to them."""
    capacity = f"{REGION} {40 * GIB}\ndrm/0000:5e:00.0/vram0 {40 * GIB}\ndrm/0000:3b:00.0/stolen 1024\n"
    (tmp_path / "dmem.capacity").write_text(capacity)
    group = tmp_path / "docker" / ONE
    group.mkdir(parents=True)
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory dmem\n")
    (tmp_path / "docker" / "cgroup.subtree_control").write_text("cpu memory\n")
    (group / "cgroup.subtree_control").write_text("")
    return tmp_path


def test_capacity_and_regions(groups: Path, tmp_path: Path) -> None:
    capacity = read_capacity(groups)
    assert capacity[REGION] == 40 * GIB
    assert len(capacity) == 3
    assert regions_of("0000:3B:00.0", capacity) == ("drm/0000:3b:00.0/stolen", REGION)
    assert regions_of("0000:3b:00.1", capacity) == ()
    assert regions_of("", capacity) == ()
    assert read_capacity(tmp_path / "none") == {}


def test_a_limit_is_written_and_the_controller_turned_on_above(groups: Path) -> None:
    group = groups / "docker" / ONE
    limit_device_memory(group, {REGION: 10 * GIB, "drm/0000:5e:00.0/vram0": 5 * GIB}, groups)
    assert (group / "dmem.max").read_text() == f"{REGION} {10 * GIB}\ndrm/0000:5e:00.0/vram0 {5 * GIB}\n"
    assert (groups / "cgroup.subtree_control").read_text() == "cpu memory dmem\n"
    assert (groups / "docker" / "cgroup.subtree_control").read_text() == "+dmem\n"
    assert (group / "cgroup.subtree_control").read_text() == ""


def test_a_group_that_is_gone(groups: Path) -> None:
    with pytest.raises(LimitRefused, match=r"kernel refuses a limit of GPU memory for .*/gone"):
        limit_device_memory(groups / "gone", {REGION: GIB}, groups)


def test_a_group_elsewhere(groups: Path, tmp_path: Path) -> None:
    with pytest.raises(LimitRefused, match="it is not below"):
        limit_device_memory(tmp_path.parent, {REGION: GIB}, groups)


def test_a_kernel_that_does_not_keep_the_limit(groups: Path) -> None:
    group = groups / "docker" / ONE
    (group / "dmem.max").symlink_to("/dev/null")
    with pytest.raises(LimitRefused, match=f"did not keep the limit of GPU memory for {REGION}"):
        limit_device_memory(group, {REGION: GIB}, groups)
