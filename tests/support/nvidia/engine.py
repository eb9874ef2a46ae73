"""The second Docker Engine: in a network namespace of its own, lest it takes the first one's bridge."""

import contextlib
import ctypes
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
from docker.errors import DockerException

from .. import nvml
from ..processes import process
from ..tiny_image import ensure_tiny_image

GPUS = tuple(f"GPU-5e000000-0000-4000-8000-00000000000{index}" for index in range(4))
MIGS = tuple(f"MIG-5e000000-0000-4000-8000-0000000001{index:02}" for index in range(2))
_DEVICES = {**{uuid: index for index, uuid in enumerate(GPUS)}, **{uuid: 4 + index for index, uuid in enumerate(MIGS)}}
_PREFIX = "berth-gpu-engine-"
_START_SECONDS = 90


@dataclass(frozen=True)
class GpuEngine:
    """An engine with four simulated GPUs, `GPUS`, and two simulated MIG instances, `MIGS`.

    Attributes
    ----------
    url
        For ``DOCKER_HOST`` or ``base_url``.
    image
        The tiny image, loaded.
    """

    url: str
    client: docker.APIClient
    image: str
    directory: Path
    namespace: str

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Let this thread, and processes and threads that it starts, live where the engine's containers are reached.

        Sockets made within are in the engine's network namespace: its bridges, its loopback, its firewall, and no way
        out. Unix sockets, such as the engines', are reached from everywhere.
        """
        with Path("/proc/thread-self/ns/net").open() as here, Path("/run/netns", self.namespace).open() as there:
            _set_network(there.fileno())
            try:
                yield
            finally:
                _set_network(here.fileno())

    def asked(self, container: str) -> list[dict[str, str]]:
        """Tell what the stand-ins were told for a container: ``way`` and ``visible``."""
        log = self.directory / "asked"
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return [{"way": line["way"], "visible": line["visible"]} for line in lines if line["container"] == container]

    @contextlib.contextmanager
    def broken_driver(self, complaint: str = "initialization error: nvml error: driver not loaded") -> Iterator[None]:
        """Let the driver fail for every container that wants GPUs."""
        path = self.directory / "broken"
        path.write_text(complaint)
        try:
            yield
        finally:
            path.unlink()

    def image_that_counts(self) -> str:
        """Give the tiny image with a program `/bin/nvml-count`, which prints how many GPUs NVML counts."""
        repository, tag = "berth-test/nvml-count", "1"
        if not self.client.images(f"{repository}:{tag}"):
            program = self.directory / "nvml-count"
            source = Path(__file__).with_name("nvml_count.c")
            subprocess.run(["gcc", "-std=gnu11", "-Wall", "-Werror", "-o", str(program), str(source)], check=True)
            container = self.client.create_container(self.image)["Id"]
            self.client.put_archive(container, "/", _with_libraries(program))
            self.client.commit(container, repository, tag)
            self.client.remove_container(container)
        return f"{repository}:{tag}"

    def load(self, client: docker.APIClient, image: str) -> None:
        """Copy an image from another engine, where it is not here yet."""
        if not self.client.images(image):
            self.client.load_image(client.get_image(image))


def _with_libraries(program: Path) -> bytes:
    """Pack a program for /bin, and the libraries that it is linked with."""
    linked = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", dereference=True) as tar:
        tar.add(program, "bin/nvml-count")
        for library in re.findall(r"(/\S+)", linked):
            tar.add(library, library.lstrip("/"))
    return packed.getvalue()


def _set_network(descriptor: int) -> None:
    clone_newnet = 0x40000000
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, clone_newnet) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def second_engine(library: Path) -> Iterator[GpuEngine]:
    """Run the engine; at the end, and before another test run's, all that is left of it is removed.

    Parameters
    ----------
    library
        The stub of NVML that containers with GPUs see.
    """
    _clear_leftovers()
    # Not pytest's directory, whose path is too long for a socket's.
    name = f"{_PREFIX}{os.getpid()}"
    directory = Path(tempfile.gettempdir(), name)
    directory.mkdir()
    try:
        subprocess.run(["ip", "netns", "add", name], check=True)
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        path = _stand_ins(directory, library)
        # Not `ip netns exec`, which would hide the control groups.
        command = ["nsenter", f"--net=/run/netns/{name}", "dockerd", *_options(directory)]
        with process(command, directory / "log", env={"PATH": path}) as daemon:
            client = _connect(directory, daemon)
            try:
                yield GpuEngine(f"unix://{directory}/socket", client, ensure_tiny_image(client), directory, name)
                _remove_containers(client)
            finally:
                client.close()
    finally:
        _clear(directory)


def _options(directory: Path) -> list[str]:
    return [
        f"--config-file={directory}/daemon.json",
        f"--data-root={directory}/data",
        f"--exec-root={directory}/exec",
        f"--pidfile={directory}/pid",
        f"--host=unix://{directory}/socket",
        "--cgroup-parent=berth-gpu-engine",
        # A containerd that the machine runs for others would be shared else.
        "--containerd-namespace=berth-gpu-engine",
        "--containerd-plugins-namespace=berth-gpu-engine-plugins",
        "--userland-proxy=false",
    ]


def _stand_ins(directory: Path, library: Path) -> str:
    """Write the toolkit's programs and the engine's configuration; gives the PATH for it."""
    programs, places = directory / "bin", directory / "places.json"
    programs.mkdir()
    content: dict[str, Any] = {
        "devices": _DEVICES,
        "library": str(library),
        "log": str(directory / "asked"),
        "broken": str(directory / "broken"),
        "runc": shutil.which("runc"),
    }
    places.write_text(json.dumps(content))
    program = f"{sys.executable} -I {Path(__file__).with_name('standin.py')} {places}"
    for name, part in (("nvidia-container-runtime-hook", "hook"), ("nvidia-container-runtime", "runtime")):
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec {program} {part} "$@"\n')
        script.chmod(0o755)
    runtimes = {"nvidia": {"path": str(programs / "nvidia-container-runtime"), "runtimeArgs": []}}
    (directory / "daemon.json").write_text(json.dumps({"runtimes": runtimes}))
    return f"{programs}:{os.environ['PATH']}"


def _connect(directory: Path, daemon: "subprocess.Popen[bytes]") -> docker.APIClient:
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            client = docker.APIClient(base_url=f"unix://{directory}/socket", version="auto", timeout=60)
            client.info()
        except (DockerException, requests.exceptions.RequestException) as error:
            log = (directory / "log").read_text(errors="replace")[-4000:]
            if daemon.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the second Docker Engine does not start: {error}\n{log}") from error
            time.sleep(0.1)
        else:
            return client


def _remove_containers(client: docker.APIClient) -> None:
    for container in client.containers(all=True):
        client.remove_container(container["Id"], force=True, v=True)


def _clear_leftovers() -> None:
    """Clear what killed test runs left; a living one's engine stays."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = directory.name.removeprefix(_PREFIX)
        if not Path("/proc", owner).exists() or owner == str(os.getpid()):
            _clear(directory)


def _clear(directory: Path) -> None:
    """End all processes of an engine, undo its mounts, remove its files and its namespace."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        pids = _processes_of(directory)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        end = time.monotonic() + 10
        while any(Path("/proc", str(pid), "cmdline").exists() for pid in pids) and time.monotonic() < end:
            time.sleep(0.05)
    for _ in range(3):  # a mount may lie on another
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount in reversed([mount for mount in mounts if mount.startswith(f"{directory}/")]):
            subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
    shutil.rmtree(directory, ignore_errors=True)
    if Path("/run/netns", directory.name).exists():
        subprocess.run(["ip", "netns", "delete", directory.name], check=False, capture_output=True)


def _processes_of(directory: Path) -> list[int]:
    """Find the engine, its containerd and the shims by the directory in their command lines, and the containers."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            cgroup = (entry / "cgroup").read_bytes()
            ours = f"{directory}/".encode()
            if ours in command or (b"berth-gpu-engine" in cgroup and ours in (entry / "mountinfo").read_bytes()):
                found.append(int(entry.name))
    return found


def why_not() -> str:
    """Say what a second engine lacks on this machine; empty if nothing."""
    if os.geteuid() != 0:
        return "a second Docker Engine needs root"
    missing = [program for program in ("dockerd", "ip", "nsenter", "runc") if shutil.which(program) is None]
    return f"a second Docker Engine needs {', '.join(missing)}" if missing else ""


@pytest.fixture(scope="session")
def gpu_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GpuEngine]:
    """A Docker Engine with simulated NVIDIA GPUs, for the whole session."""
    lacking = why_not() or nvml.why_not()
    if lacking:
        pytest.skip(lacking)
    library = nvml.build(tmp_path_factory.mktemp("nvml"))
    with second_engine(library) as engine:
        yield engine
