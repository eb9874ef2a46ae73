"""Control groups of both versions, in trees laid out as the kernel lays them out."""

from pathlib import Path

import pytest

from spawner.exporter.cgroups import Use, UseReader

from .scenes import ANN, BOB, container

PID = 4711
NET = """\
Inter-|   Receive                                       |  Transmit
 face |bytes packets errs drop fifo frame compressed mc |bytes packets errs drop fifo colls carrier compressed
    lo: 9999       5    0    0    0     0          0   0  9999       5    0    0    0     0       0          0
  eth0: 1500      10    0    0    0     0          0   0   700       7    0    0    0     0       0          0
  eth1:    1       1    0    0    0     0          0   0     2       1    0    0    0     0       0          0
"""


class Kernel:
    """Files under a directory, as under /proc and /sys/fs/cgroup."""

    def __init__(self, directory: Path) -> None:
        self.proc, self.cgroups = directory / "proc", directory / "cgroup"
        self.cgroups.mkdir()
        self.reader = UseReader(self.proc, self.cgroups)

    def process(self, cgroup: str, pid: int = PID) -> None:
        (self.proc / str(pid) / "net").mkdir(parents=True, exist_ok=True)
        (self.proc / str(pid) / "cgroup").write_text(cgroup)
        (self.proc / str(pid) / "net" / "dev").write_text(NET)

    def group(self, path: str, **files: str) -> Path:
        directory = self.cgroups / path
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (directory / name.replace("__", ".")).write_text(text)
        return directory

    def read(self, **about: object) -> Use | None:
        return self.reader.read(container(ANN, "ann", **{"pid": PID, **about}))  # type: ignore[arg-type]

    def told(self) -> Use:
        use = self.read()
        assert use is not None
        return use


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


@pytest.fixture
def unified(kernel: Kernel) -> Kernel:
    """Version 2, under systemd."""
    scope = f"system.slice/docker-{ANN}.scope"
    kernel.process(f"0::/{scope}\n")
    kernel.group(
        scope,
        cpu__stat="usage_usec 5000000\nuser_usec 3500000\nsystem_usec 1500000\nnice_usec 0\n"
        "nr_periods 40\nnr_throttled 12\nthrottled_usec 2250000\nnr_bursts 0\nburst_usec 0\n",
        memory__current="104857600\n",
        memory__stat="anon 52428800\nfile 41943040\nkernel 10485760\ninactive_anon 0\nactive_anon 52428800\n"
        "inactive_file 31457280\nactive_file 10485760\nunevictable 0\n",
        memory__events="low 0\nhigh 0\nmax 88\noom 3\noom_kill 2\noom_group_kill 0\n",
        pids__current="17\n",
        io__stat="8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n"
        "259:1 rbytes=1000 wbytes=1 rios=1 wios=1 dbytes=0 dios=0\n7:0 \n",
    )
    return kernel


EXPECTED = {
    "cpu_user": 3.5,
    "cpu_system": 1.5,
    "throttled": 2.25,
    "memory": 104857600,
    "working_set": 73400320,
    "processes": 17,
    "oom_kills": 2,
    "read": 5096,
    "written": 8193,
    "received": 1501,
    "sent": 702,
}


def test_version_2(unified: Kernel) -> None:
    assert unified.told() == Use(EXPECTED)


def test_version_1(kernel: Kernel) -> None:
    group = f"docker/{ANN}"
    names = ["name=systemd", "pids", "blkio", "memory", "cpuset", "cpu,cpuacct", "net_cls,net_prio"]
    lines = [f"{number}:{name}:/{group}\n" for number, name in enumerate(names, 1)]
    kernel.process("".join([*lines, f"0::/{group}\n"]))
    for name in ("cpu", "cpuacct"):  # links to one place on most systems
        kernel.group(
            f"{name}/{group}",
            cpuacct__stat="user 350\nsystem 150\n",
            cpu__stat="nr_periods 40\nnr_throttled 12\nthrottled_time 2250000000\n",
        )
    kernel.group(
        f"memory/{group}",
        memory__usage_in_bytes="104857600\n",
        memory__stat="cache 41943040\nrss 52428800\ninactive_file 1\ntotal_inactive_file 31457280\n",
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    )
    kernel.group(f"pids/{group}", pids__current="17\n")
    kernel.group(
        f"blkio/{group}",
        blkio__throttle__io_service_bytes_recursive="8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 4096\n8:0 Async 8192\n"
        "8:0 Total 12288\n259:1 Read 1000\n259:1 Write 1\n259:1 Total 1001\nTotal 13289\n",
    )
    assert kernel.told() == Use(EXPECTED)


def test_a_container_that_has_a_group_below_its_own_for_its_first_process(unified: Kernel) -> None:
    unified.process(f"0::/system.slice/docker-{ANN}.scope/init.scope\n")
    assert unified.told() == Use(EXPECTED)


def test_what_the_kernel_does_not_count_is_missing_and_said_to_be(unified: Kernel) -> None:
    scope = unified.cgroups / f"system.slice/docker-{ANN}.scope"
    (scope / "io.stat").unlink()
    (scope / "cpu.stat").write_text("usage_usec 5000000\nuser_usec 3500000\nsystem_usec 1500000\n")
    use = unified.told()
    assert use.values == {key: value for key, value in EXPECTED.items() if key not in {"read", "written", "throttled"}}
    assert use.absent == ("not_supported",) * 3


def test_nonsense_is_missing_and_said_to_have_failed(unified: Kernel) -> None:
    (unified.cgroups / f"system.slice/docker-{ANN}.scope/memory.current").write_text("a lot\n")
    use = unified.told()
    assert "memory" not in use.values
    assert "working_set" not in use.values
    assert use.absent == ("failed",)


def test_a_network_that_is_not_its_own_is_not_counted_for_it(unified: Kernel) -> None:
    use = unified.read(own_network=False)
    assert use is not None
    assert use.values.keys() == EXPECTED.keys() - {"received", "sent"}
    assert use.absent == ()


def test_an_ended_container_has_no_use(unified: Kernel) -> None:
    assert unified.read(pid=4712) is None


def test_the_number_of_an_ended_process_may_be_anothers_by_now(unified: Kernel) -> None:
    unified.process(f"0::/system.slice/docker-{BOB}.scope\n")
    assert unified.read() is None
    unified.process("0::/user.slice\n")
    assert unified.read() is None


def test_a_container_that_ends_while_it_is_read_has_no_use(unified: Kernel) -> None:
    # Its files go first; what tells that it was that is asked last.
    for file in (unified.cgroups / f"system.slice/docker-{ANN}.scope").iterdir():
        file.unlink()
    assert unified.told().absent  # the process is there: this kernel counts nothing
    unified.process("0::/\n")
    assert unified.read() is None


def test_each_look_reads_anew(unified: Kernel) -> None:
    unified.told()
    (unified.cgroups / f"system.slice/docker-{ANN}.scope/pids.current").write_text("18\n")
    assert unified.told().values["processes"] == 18


def test_a_container_that_was_started_again_is_read_by_its_new_process(unified: Kernel) -> None:
    unified.told()
    unified.process(f"0::/system.slice/docker-{ANN}.scope/again\n", 4712)
    (unified.proc / "4712" / "net" / "dev").write_text(NET.replace("1500", "2500"))
    again = unified.read(pid=4712)
    assert again is not None
    assert again.values["received"] == 2501


def test_a_container_that_was_moved_to_another_group_is_read_there(unified: Kernel) -> None:
    unified.told()
    unified.process(f"0::/elsewhere/{ANN}\n")
    unified.group(f"elsewhere/{ANN}", pids__current="5\n")
    assert unified.told().values["processes"] == 5


def test_a_group_tells_of_its_processes(unified: Kernel) -> None:
    scope = f"system.slice/docker-{ANN}.scope"
    unified.group(scope, cgroup__procs=f"{PID}\n5000\n")
    for _ in range(2):
        assert unified.told() == Use(EXPECTED, pids=(PID, 5000))
    unified.group(scope, cgroup__procs=f"{PID}\n")
    assert unified.told().pids == (PID,)


@pytest.mark.parametrize("left", ["", "5000\n", f"1{PID}\n{PID}1\n", "nonsense\n"])
def test_a_process_that_its_group_does_not_tell_of_is_asked_itself(unified: Kernel, left: str) -> None:
    scope = f"system.slice/docker-{ANN}.scope"
    unified.group(scope, cgroup__procs=f"{PID}\n")
    assert unified.told().pids == (PID,)
    unified.group(scope, cgroup__procs=left)
    assert unified.told().values == EXPECTED
    unified.process(f"0::/elsewhere/{ANN}\n")
    unified.group(f"elsewhere/{ANN}", pids__current="5\n", cgroup__procs=f"{PID}\n5001\n")
    for _ in range(2):
        there = unified.told()
        assert (there.values["processes"], there.pids) == (5, (PID, 5001))
    unified.group(f"elsewhere/{ANN}", cgroup__procs=left)
    unified.process("0::/\n")
    assert unified.read() is None


def test_no_file_stays_open_of_who_is_gone_or_beyond_the_bound(unified: Kernel) -> None:
    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = opened()
    unified.reader = UseReader(unified.proc, unified.cgroups, most_open=0)
    assert unified.told() == Use(EXPECTED)
    assert opened() == before
    unified.reader = UseReader(unified.proc, unified.cgroups)
    unified.told()
    assert opened() > before
    unified.reader.keep({BOB})
    assert opened() == before
    unified.told()
    unified.process("0::/\n")
    assert unified.read() is None
    assert opened() == before
