"""A driver that is missing, hangs, or is loaded anew."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from spawner.errors import GpuProbeFailed
from spawner.gpus.nvml import NvmlProbe
from spawner.gpus.worker import Worker

from ..support import nvml
from ..support.nvml import StubScript
from ..support.waiting import eventually

DRIVER_NOT_LOADED, NO_PERMISSION, UNKNOWN = 9, 4, 999

READ = """
from spawner.errors import GpuProbeFailed
from spawner.gpus.nvml import NvmlProbe
def read():
    try:
        return probe.inventory().driver
    except GpuProbeFailed as error:
        return str(error)
probe = NvmlProbe()
print(read())
"""

Open = Callable[..., NvmlProbe]


@pytest.mark.nvml
def test_a_driver_that_is_not_loaded_and_then_is(script: StubScript, probe: NvmlProbe) -> None:
    script.fail("nvmlInitWithFlags", DRIVER_NOT_LOADED)
    script.write()
    assert not probe.driver_there()
    for read in (probe.inventory, probe.processes, probe.activity):
        with pytest.raises(GpuProbeFailed, match="installed but not loaded"):
            read()
    script.lines.clear()
    script.write()
    assert probe.driver_there()
    assert probe.inventory().driver == "550.54.15"


@pytest.mark.nvml
@pytest.mark.parametrize(
    ("code", "words"), [(NO_PERMISSION, "may open /dev/nvidia"), (UNKNOWN, "library failed: Unknown Error")]
)
def test_a_driver_that_refuses_is_there(script: StubScript, probe: NvmlProbe, code: int, words: str) -> None:
    script.fail("nvmlInitWithFlags", code)
    script.write()
    assert probe.driver_there()
    with pytest.raises(GpuProbeFailed, match=words):
        probe.inventory()


@pytest.mark.nvml
def test_a_driver_that_is_loaded_anew(script: StubScript, probe: NvmlProbe) -> None:
    gpu = script.add_gpu()
    script.write()
    probe.inventory()
    for epoch, read in enumerate((probe.inventory, probe.processes, probe.activity), start=2):
        script.values["driver_epoch"] = epoch
        script.write()
        assert read()
    assert [one.uuid for one in probe.inventory().gpus] == [gpu.uuid]


@pytest.mark.nvml
def test_two_probes_do_not_disturb_each_other(script: StubScript, open_nvml: Open) -> None:
    script.add_gpu()
    script.write()
    one, other = open_nvml(), open_nvml()
    before = one.inventory()
    assert other.inventory() == before
    script.values["driver_epoch"] = 2
    script.write()
    assert one.inventory() == before
    assert other.inventory() == before
    one.close()
    assert other.inventory() == before
    with pytest.raises(GpuProbeFailed, match="was closed"):
        one.inventory()


@pytest.mark.nvml
def test_a_driver_that_is_updated(library: Path, tmp_path: Path, script: StubScript) -> None:
    """The library's file is another one, and the kernel's module is loaded anew."""
    assert library.exists()
    updated = nvml.build(tmp_path / "lib", "550.54.15")
    script.values |= {"module_version": "550.54.15"}
    del script.values["driver_version"]
    script.write()
    newer = nvml.build(tmp_path / "new", "570.10")
    told = nvml.run_python(
        READ
        + f"""
import pathlib
script, lib = pathlib.Path({str(script.path)!r}), pathlib.Path({str(updated)!r})
new = script.read_text().replace("550.54.15", "570.10") + "driver_epoch 2\\n"
def put(text):
    script.with_suffix(".new").write_text(text)
    script.with_suffix(".new").replace(script)
put(new)
print(read())
pathlib.Path({str(newer)!r}).replace(lib)
print(read())
print(read())
""",
        nvml.environment(updated, script.path),
    )
    before, between, after, again = told.splitlines()
    assert before == "550.54.15"
    assert between.startswith("The NVIDIA driver was updated, and its library does not fit")
    assert after == again == "570.10"


def test_a_host_without_the_library() -> None:
    told = nvml.run_python(
        READ + "print(probe.driver_there())",
        {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path.cwd())},
    )
    if not told.startswith("This host has no NVIDIA driver (libnvidia-ml.so.1 is missing)"):
        pytest.skip("this machine has NVIDIA's driver")
    assert told.endswith("False")


@pytest.mark.nvml
def test_a_driver_that_hangs(script: StubScript, open_nvml: Open) -> None:
    script.add_gpu()
    script.lines.append("block nvmlDeviceGetMemoryInfo")
    script.write()
    probe = open_nvml(timeout=0.2)
    with pytest.raises(GpuProbeFailed, match=r"did not answer within 0.2 s"):
        probe.inventory()
    threads = threading.active_count()
    for _ in range(3):
        with pytest.raises(GpuProbeFailed, match=r"has not answered for .* it seems to hang"):
            probe.processes()
    assert threading.active_count() <= threads  # those of closed probes may end meanwhile
    script.lines.clear()
    script.write()

    def answers() -> bool:
        try:
            return bool(probe.inventory().gpus)
        except GpuProbeFailed:
            return False

    eventually(answers)


@pytest.mark.nvml
def test_a_gpu_that_hangs_does_not_keep_the_process_from_ending(script: StubScript, library: Path) -> None:
    script.add_gpu().lines.append("block nvmlDeviceGetMemoryInfo")
    script.write()
    told = nvml.run_python(READ.replace("NvmlProbe()", "NvmlProbe(0.2)"), nvml.environment(library, script.path))
    assert told.startswith("The NVIDIA driver did not answer within 0.2 s.")


def test_whoever_waits_behind_a_call_that_hangs_is_told_so() -> None:
    worker = Worker("The part", 0.3)
    release, begun = threading.Event(), threading.Event()
    answers: list[str] = []

    def hang() -> None:
        begun.set()
        release.wait()

    def ask(function: Callable[[], object]) -> None:
        try:
            worker.call(function)
        except GpuProbeFailed as error:
            answers.append(str(error))

    first = threading.Thread(target=ask, args=[hang])
    first.start()
    assert begun.wait(20)
    ran: list[int] = []
    second = threading.Thread(target=ask, args=[lambda: ran.append(1)])
    second.start()
    first.join(20)
    second.join(20)
    assert len(answers) == 2
    assert all("did not answer within 0.3 s" in answer or "has not answered" in answer for answer in answers)
    release.set()
    eventually(lambda: _works(worker))
    assert ran == []  # given up by its caller, it must not run later
    worker.close(lambda: None)


def _works(worker: Worker) -> bool:
    try:
        return worker.call(lambda: True)
    except GpuProbeFailed:
        return False


def test_the_last_call_is_made_once() -> None:
    worker = Worker("The part", 20)
    worker.call(lambda: None)
    ran: list[int] = []
    for _ in range(2):
        worker.close(lambda: ran.append(1))
    thread = worker._thread
    assert thread is not None
    thread.join(20)
    assert not thread.is_alive()
    assert ran == [1]


def test_what_a_call_raises_reaches_its_caller() -> None:
    worker = Worker("The part", 20)

    def fail() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        worker.call(fail)
    assert worker.call(lambda: 3) == 3
    worker.close(lambda: None)
