"""The official variant, as far as it can be checked without its base image: the lock installs, agrees with itself and
with TensorFlow, and works under Python 3.8.
"""

import ast
import os
import re
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

RECIPE = Path(__file__).parents[2] / "images" / "tensorflow-official"
LOCK = RECIPE / "requirements.txt"
UV = str(Path(sys.executable).with_name("uv"))

# The base image: Ubuntu 20.04 with its own Python.
TARGET = ["--python-version", "3.8", "--python-platform", "x86_64-manylinux_2_31", "--only-binary", ":all:"]
MARKERS = {
    "implementation_name": "cpython",
    "implementation_version": "3.8.10",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.8.10",
    "python_version": "3.8",
    "sys_platform": "linux",
}
# What the server, the kernels and the tools in the launcher are made of.
MODULES = (
    "jupyterhub.singleuser",
    "jupyterhub.singleuser.extension",
    "jupyterlab.labapp",
    "jupyter_server.serverapp",
    "ipykernel.kernelapp",
    "ipywidgets",
    "jupyter_resource_usage",
    "jupyter_server_proxy",
    "jupyterlab_git",
    "nbgitpuller",
    "nbstripout",
)

pytestmark = pytest.mark.timeout(240)


def _run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        command, env=os.environ | environment, check=False, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
    return done.stdout


def _pins(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9][a-z0-9.-]*)==([^\s;]+)", text, re.MULTILINE))


@pytest.fixture(scope="module")
def lock() -> dict[str, str]:
    return _pins(LOCK.read_text())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lock, installed as for the base image: from wheels only, each checked against its hash."""
    site = tmp_path_factory.mktemp("official") / "site"
    exact = ["--require-hashes", "--no-deps", "--no-progress"]
    _run(UV, "pip", "install", "--python", sys.executable, *TARGET, *exact, "--target", str(site), "-r", str(LOCK))
    return site


@pytest.fixture(scope="module")
def installed(site: Path) -> dict[str, Distribution]:
    return {canonicalize_name(found.metadata["Name"]): found for found in distributions(path=[str(site)])}


@pytest.fixture(scope="module")
def python38(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A CPython 3.8: the machine's, or pyenv's, or one that uv fetches for this test alone."""
    own = tmp_path_factory.mktemp("python")
    environment = os.environ | {"UV_PYTHON_INSTALL_DIR": str(own), "UV_HTTP_RETRIES": "0"}

    def ask(*command: str) -> str:
        try:
            done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=90)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    find = (UV, "python", "find", "--no-project", "--no-python-downloads", "cpython@3.8")
    if found := ask(*find):
        return found
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for path in sorted(pyenv.glob("versions/3.8.*/bin/python3.8")):
        if ask(str(path), "--version").startswith("Python 3.8."):
            return str(path)
    ask(UV, "python", "install", "--no-bin", "--no-progress", "cpython@3.8")
    if found := ask(*find):
        return found
    pytest.skip("no python3.8 on this machine, and uv could fetch none: the lock is resolved but not imported")


def test_every_pin_installs_from_a_wheel_with_its_hash(
    lock: dict[str, str], installed: dict[str, Distribution]
) -> None:
    assert {name: found.version for name, found in installed.items()} == lock


def test_the_lock_is_complete_and_holds_nothing_else(lock: dict[str, str], installed: dict[str, Distribution]) -> None:
    """Every requirement, with its markers read for the base's Python, is met by a pin; each pin is required."""
    entries = [line.partition("#")[0].strip() for line in (RECIPE / "requirements.in").read_text().splitlines()]
    waiting = [("requirements.in", Requirement(entry)) for entry in entries if entry]
    seen: set[tuple[str, str]] = set()
    problems = []
    while waiting:
        origin, requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in lock or not requirement.specifier.contains(lock[name], prereleases=True):
            problems.append(f"{origin} requires {requirement}, the lock has {lock.get(name)}")
            continue
        for extra in {"", *requirement.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            for text in installed[name].requires or []:
                needed = Requirement(text)
                if needed.marker.evaluate({**MARKERS, "extra": extra}) if needed.marker else not extra:
                    waiting.append((name, needed))
    assert not problems
    assert {name for name, _ in seen} == set(lock)


def test_nothing_asks_for_a_newer_python(installed: dict[str, Distribution]) -> None:
    newer = [
        name
        for name, found in installed.items()
        for asked in found.metadata.get_all("Requires-Python") or []
        if not Requirement(f"python{asked}").specifier.contains(MARKERS["python_full_version"])
    ]
    assert not newer


def test_the_lock_leaves_tensorflow_as_it_is(lock: dict[str, str], tmp_path: Path) -> None:
    """One environment holds both, so there must be a choice of versions that suits TensorFlow and has every pin."""
    wanted = tmp_path / "both.in"
    wanted.write_text("".join(f"{name}=={version}\n" for name, version in lock.items()) + "tensorflow==2.9.3\n")
    limits = tmp_path / "limits.txt"
    limits.write_text("numpy<1.24\nprotobuf<3.20\n")
    quiet = ["--quiet", "--no-header", "--no-annotate"]
    both = _pins(_run(UV, "pip", "compile", *TARGET, *quiet, "--constraint", str(limits), str(wanted)))
    assert both.items() >= lock.items()
    assert Version(both["tensorboard"]) < Version("2.10")
    # The base's own are not replaced.
    assert not {"tensorflow", "tensorboard", "keras", "numpy", "protobuf", "h5py"} & set(lock)


def test_the_servers_own_code_is_python_3_8(site: Path) -> None:
    packages = {module.partition(".")[0] for module in MODULES}
    paths = [path for name in packages for path in (site / name).rglob("*.py") if "tests" not in path.parts]
    assert len(paths) > 200
    for path in paths:
        ast.parse(path.read_bytes(), str(path), feature_version=(3, 8))


def test_everything_imports_under_python_3_8(python38: str, site: Path, lock: dict[str, str]) -> None:
    script = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]; print(sys.version)"
    environment = {"PYTHONPATH": str(site), "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    assert _run(python38, "-c", script, *MODULES, **environment).startswith("3.8.")

    def version(module: str) -> str:
        return _run(python38, "-m", module, "--version", **environment).strip()

    assert version("jupyterhub.singleuser") == lock["jupyterhub"]
    assert version("jupyterlab") == lock["jupyterlab"]


@pytest.mark.parametrize("name", ["jupyterhub", "jupyterlab"])
def test_the_labels_tell_the_locked_versions(name: str, lock: dict[str, str]) -> None:
    assert f'berth.image.{name}="{lock[name]}"' in (RECIPE / "Dockerfile").read_text()
