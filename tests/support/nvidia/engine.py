"""A second Docker Engine whose NVIDIA driver is simulated."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from .. import nvml
from ..compiling import compile_c
from ..own_engine import OwnEngine, place_for_engine, why_not
from ..tiny_image import ensure_tiny_image

GPUS = tuple(f"GPU-5e000000-0000-4000-8000-00000000000{index}" for index in range(4))
MIGS = tuple(f"MIG-5e000000-0000-4000-8000-0000000001{index:02}" for index in range(2))
_DEVICES = {**{uuid: index for index, uuid in enumerate(GPUS)}, **{uuid: 4 + index for index, uuid in enumerate(MIGS)}}
_PREFIX = "berth-gpu-engine-"


@dataclass(frozen=True)
class GpuEngine:
    """An engine with four simulated GPUs, `GPUS`, and two simulated MIG instances, `MIGS`.

    Attributes
    ----------
    engine
        The engine itself.
    image
        The tiny image, loaded.
    """

    engine: OwnEngine
    client: docker.APIClient
    image: str

    @property
    def url(self) -> str:
        """For ``DOCKER_HOST`` or ``base_url``."""
        return self.engine.url

    @property
    def directory(self) -> Path:
        return self.engine.directory

    def entered(self) -> contextlib.AbstractContextManager[None]:
        """See `OwnEngine.entered`."""
        return self.engine.entered()

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
            compile_c(source, program)
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


@contextlib.contextmanager
def second_engine(library: Path) -> Iterator[GpuEngine]:
    """Run the engine; at the end, and before another test run's, all that is left of it is removed.

    Parameters
    ----------
    library
        The stub of NVML that containers with GPUs see.
    """
    with place_for_engine(_PREFIX) as directory:
        path = _stand_ins(directory, library)
        engine = OwnEngine(directory, {"PATH": path}, [f"--config-file={directory}/daemon.json"])
        engine.start()
        client = engine.connect()
        try:
            yield GpuEngine(engine, client, ensure_tiny_image(client))
            _remove_containers(client)
        finally:
            client.close()
            engine.stop()


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


def _remove_containers(client: docker.APIClient) -> None:
    for container in client.containers(all=True):
        client.remove_container(container["Id"], force=True, v=True)


@pytest.fixture(scope="session")
def gpu_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GpuEngine]:
    """A Docker Engine with simulated NVIDIA GPUs, for the whole session."""
    lacking = why_not() or nvml.why_not()
    if lacking:
        pytest.skip(lacking)
    library = nvml.build(tmp_path_factory.mktemp("nvml"))
    with second_engine(library) as engine:
        yield engine
