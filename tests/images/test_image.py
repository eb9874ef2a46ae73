"""What is in the image, and what a user's container makes of it, tried in hardened containers."""

import io
import json
import re
import tarfile
from collections.abc import Callable
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from spawner.engine.build import RECIPE_LABEL, host_certificates

from .conftest import RECIPE

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]

Output = Callable[..., str]
PYTHON = "/opt/tensorflow/bin/python"


def _locked(lock: str, package: str) -> str:
    match = re.search(rf"^{package}==(\S+)", (RECIPE / f"{lock}.txt").read_text(), re.MULTILINE)
    assert match
    return match[1]


def test_labels_name_the_versions_in_the_locks(engine: docker.DockerClient, image: str) -> None:
    labels = engine.images.get(image).labels
    assert labels["berth.image.tensorflow"] == _locked("tensorflow", "tensorflow") == "2.9.3"
    assert labels["berth.image.jupyterhub"] == _locked("jupyter", "jupyterhub")
    assert labels["berth.image.jupyterlab"] == _locked("jupyter", "jupyterlab")
    assert labels["berth.image.flavour"] == "cpu"
    assert labels["org.opencontainers.image.version"] == "2.9.3"
    assert len(labels[RECIPE_LABEL]) == 64


def test_server_has_the_hubs_version() -> None:
    hub = (RECIPE.parents[1] / "requirements" / "hub.txt").read_text()
    assert f"\njupyterhub=={_locked('jupyter', 'jupyterhub')} " in f"\n{hub}"


def test_configuration(engine: docker.DockerClient, image: str) -> None:
    config = engine.images.get(image).attrs["Config"]
    environment = dict(entry.split("=", 1) for entry in config["Env"])
    assert config["User"] == "1000:1000"
    assert config["WorkingDir"] == "/home/jovyan"
    assert environment["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert not {name for name in environment if "PROXY" in name.upper() or "INDEX" in name or "CERT" in name}


def test_selfcheck_sees_the_limits(output: Output, home: str) -> None:
    report = json.loads(output("berth-selfcheck", "--full", "--json", home=home, shm_size="256m"))
    assert report["ok"], report["problems"]
    assert report["tensorflow"]["version"] == "2.9.3"
    assert [(device["type"], device["ok"]) for device in report["tensorflow"]["devices"]] == [("CPU", True)]
    limits = report["limits"]
    assert limits["memory_bytes"] == 2 << 30
    assert not limits["swap_bytes"]
    assert limits["cpus"] == 1.5
    assert limits["processes"] in {512, None}  # not told everywhere under cgroup version 1
    assert limits["shm_bytes"] == 256 << 20
    assert report["home"]["writable"]
    assert report["user"] == {"gid": 1000, "uid": 1000}
    assert report["cuda_libraries"]["libcudart.so.11.0"] is None


def test_selfcheck_tells_a_person_and_fails_on_trouble(output: Output) -> None:
    text = output("berth-selfcheck")
    assert re.search(r"^ok +TensorFlow +2\.9\.3 \(cpu image\)$", text, re.MULTILINE)
    assert re.search(r"^ +memory +2\.0 GiB", text, re.MULTILINE)
    assert "matrix product" not in text
    failing = output(
        "berth-selfcheck",
        "--full",
        status=1,
        read_only=True,
        tmpfs={"/tmp": ""},
        environment={"NVIDIA_VISIBLE_DEVICES": "0"},
    )
    assert "The home /home/jovyan cannot be written to" in failing
    assert "A GPU was given to this container (0), but TensorFlow sees none" in failing


def test_selfcheck_reads_both_cgroup_versions(output: Output) -> None:
    # This machine has one of the two; the other's files are made up.
    program = """
import importlib.machinery, importlib.util, json, pathlib, tempfile
loader = importlib.machinery.SourceFileLoader("selfcheck", "/opt/berth/bin/berth-selfcheck")
module = importlib.util.module_from_spec(importlib.util.spec_from_loader("selfcheck", loader))
loader.exec_module(module)
def limits(files):
    module.CGROUPS = pathlib.Path(tempfile.mkdtemp())
    for name, text in files.items():
        (module.CGROUPS / name).parent.mkdir(exist_ok=True)
        (module.CGROUPS / name).write_text(text)
    return module.limits()
one = {"memory/memory.limit_in_bytes": "1073741824", "memory/memory.memsw.limit_in_bytes": "1073741824",
       "memory/memory.usage_in_bytes": "5", "cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000",
       "pids/pids.max": "max"}
two = {"cgroup.controllers": "", "memory.max": "1073741824", "memory.swap.max": "0", "memory.current": "5",
       "cpu.max": "50000 100000", "pids.max": "64"}
none = {"cgroup.controllers": "", "memory.max": "max", "memory.swap.max": "max", "cpu.max": "max 100000"}
print(json.dumps([limits(files) for files in (one, two, none)]))
"""
    one, two, none = json.loads(output(PYTHON, "-c", program))
    for report in (one, two):
        assert (report["memory_bytes"], report["cpus"], report["swap_bytes"]) == (1 << 30, 0.5, 0)
    assert (one["cgroup_version"], one["processes"]) == (1, None)
    assert (two["cgroup_version"], two["processes"]) == (2, 64)
    assert (none["memory_bytes"], none["cpus"], none["swap_bytes"]) == (None, None, None)


def test_welcome_notebook_runs_from_top_to_bottom(output: Output, home: str) -> None:
    script = """
        set -e
        jupyter nbconvert --to notebook --execute Welcome.ipynb --output /tmp/out.ipynb >/dev/null 2>&1
        ls models/spirals/saved_model.pb models/spirals.tflite logs/welcome >/dev/null
        cat /tmp/out.ipynb
    """
    notebook = json.loads(output("bash", "-c", script, home=home))
    outputs = [entry for cell in notebook["cells"] for entry in cell.get("outputs", [])]
    text = "".join("".join(entry.get("text", "")) for entry in outputs)
    assert "TensorFlow 2.9.3" in text
    assert "Loaded model agrees: True" in text
    accuracy = [float(found) for found in re.findall(r"([\d.]+)%", text)]
    assert len(accuracy) == 2
    assert min(accuracy) > 95
    assert sum("image/png" in entry.get("data", {}) for entry in outputs) == 2
    assert any("tensorboard/" in "".join(entry.get("data", {}).get("text/html", "")) for entry in outputs)


def test_notebook_is_handed_over_without_outputs() -> None:
    notebook = json.loads((RECIPE / "files/opt/berth/share/Welcome.ipynb").read_text())
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in notebook["cells"])


def test_welcome_comes_once_and_never_over_a_users_file(
    output: Output, home: str, volumes: list[Any], engine: Any
) -> None:
    assert "Welcome.ipynb" in output("ls", home=home)
    output("sh", "-c", "echo mine > Welcome.ipynb", home=home)
    assert output("cat", "Welcome.ipynb", home=home) == "mine\n"
    output("rm", "Welcome.ipynb", home=home)
    assert "Welcome.ipynb" not in output("ls", home=home)

    # A home with files from elsewhere, which Berth has not seen before.
    volumes.append(engine.volumes.create())
    other = volumes[-1].name
    output("sh", "-c", "echo theirs > Welcome.ipynb && rm -r .local", home=other)
    assert output("cat", "Welcome.ipynb", home=other) == "theirs\n"


def test_a_home_that_is_full_or_read_only_still_starts(start: Callable[..., Container]) -> None:
    container = start(["echo", "started"], read_only=True, tmpfs={"/tmp": ""})
    assert container.wait()["StatusCode"] == 0
    log = container.logs().decode()
    assert "started" in log
    assert "cannot be written to" in log


def _wheel(name: str, version: str) -> bytes:
    """The smallest wheel there is, so that nothing needs a package index."""
    import zipfile

    buffer = io.BytesIO()
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{name}/__init__.py", f'__version__ = "{version}"\n')
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(
            f"{info}/RECORD", f"{name}/__init__.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )
    return buffer.getvalue()


def _put(container: Container, files: dict[str, bytes]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.uid, entry.gid, entry.mode = len(content), 1000, 1000, 0o644
            archive.addfile(entry, io.BytesIO(content))
    assert container.put_archive("/home/jovyan", buffer.getvalue())


def _run(container: Container, *command: str) -> tuple[int, str]:
    done = container.exec_run(["/opt/berth/bin/berth-start", *command])
    assert isinstance(done.output, bytes)
    assert done.exit_code is not None
    return done.exit_code, done.output.decode()


def test_pip_installs_into_the_home_and_survives(start: Callable[..., Container], home: str) -> None:
    first = start(["sleep", "300"], home=home)
    wheels = {
        f"{name}-{version}-py3-none-any.whl": _wheel(name, version)
        for name, version in [
            ("berth_probe", "1.0"),
            ("berth_probe", "1.1"),
            ("seaborn", "99.0"),
            ("numpy", "9.9"),
            ("protobuf", "9.9"),
        ]
    }
    _put(first, wheels)
    pip = ("pip", "install", "-q", "--no-index", "--no-deps", "--find-links", ".")
    # As %pip and as !pip have it; also something newer than the image's.
    assert _run(first, PYTHON, "-m", *pip, "berth_probe==1.0") == (0, "")
    assert _run(first, *pip, "--upgrade", "berth_probe") == (0, "")
    listed = _run(first, "pip", "list", "--user", "--format", "json")[1]
    assert json.loads(listed) == [{"name": "berth_probe", "version": "1.1"}]
    assert _run(first, *pip, "--upgrade", "seaborn") == (0, "")
    for package in ("numpy", "protobuf"):
        status, text = _run(first, *pip, "--upgrade", package)
        kept = _run(first, PYTHON, "-c", f"import importlib.metadata as m; print(m.version('{package}'))")[1]
        assert kept == f"{_locked('tensorflow', package)}\n", f"{status} {text}"
    # On purpose, it goes.
    status, text = _run(first, "env", "PIP_CONSTRAINT=/dev/null", *pip, "--upgrade", "numpy")
    assert status == 0, text
    assert _run(first, PYTHON, "-c", "import numpy; print(numpy.__version__)") == (0, "9.9\n")
    assert _run(first, "pip", "uninstall", "-q", "-y", "numpy")[0] == 0
    first.remove(force=True, v=False)

    second = start(["sleep", "300"], home=home)
    program = "import berth_probe, numpy, seaborn; print(berth_probe.__file__, seaborn.__version__, numpy.__version__)"
    status, text = _run(second, PYTHON, "-c", program)
    assert status == 0, text
    assert text.split() == [
        "/home/jovyan/.local/lib/python3.9/site-packages/berth_probe/__init__.py",
        "99.0",
        _locked("tensorflow", "numpy"),
    ]
    # The server's environment sees none of it, and nobody can write to either.
    assert _run(second, "/opt/jupyter/bin/python", "-c", "import berth_probe")[0] != 0
    assert (
        _run(second, "/opt/jupyter/bin/pip", "install", "-q", "--no-index", "--find-links", ".", "berth_probe")[0] != 0
    )
    assert _run(second, "touch", "/opt/tensorflow/lib/python3.9/dist-packages/x")[0] != 0


def test_terminals_have_the_notebooks_python(output: Output) -> None:
    text = output("bash", "-lc", "command -v python pip jupyter git berth-selfcheck; command -v gcc cc || echo none")
    assert text.split() == [
        "/opt/tensorflow/bin/python",
        "/opt/tensorflow/bin/pip",
        "/opt/jupyter/bin/jupyter",
        "/usr/bin/git",
        "/opt/berth/bin/berth-selfcheck",
        "none",
    ]


def test_the_kernel_has_its_libraries_and_nothing_runs_as_root(output: Output) -> None:
    program = (
        "import IPython, ipywidgets, matplotlib, pandas, seaborn, sklearn, tensorboard; import os; print(os.getuid())"
    )
    assert output(PYTHON, "-W", "ignore", "-c", program) == "1000\n"
    assert output("stat", "-c", "%a %U", "/srv/shared").split() == ["755", "root"]


def test_the_builds_inputs_left_no_trace(engine: docker.DockerClient, image: str, output: Output) -> None:
    history = json.dumps(engine.api.history(image)) + json.dumps(engine.images.get(image).attrs["Config"])
    assert not re.search(r"certificates|DEBIAN_MIRROR|PIP_INDEX|_PROXY|build/", history, re.IGNORECASE)
    # The certificates given to the build, looked for by a line of each; those the base trusts anyway do not count.
    base = output("cat", "/etc/ssl/certs/ca-certificates.crt")
    given = [
        found.split("\n")[2]
        for path in host_certificates()
        for found in re.findall(r"-----BEGIN CERTIFICATE-----\n.*?-----END", path.read_text(), re.DOTALL)
    ]
    extra = [line for line in given if line not in base]
    patterns = ["BERTH-TEST-NOTHING", *extra]
    wanted = " ".join(f"-e {pattern}" for pattern in patterns)
    places = "/etc /usr/local /usr/share /var /root /home"
    script = f"ls /build /etc/berth/ca-bundle.pem 2>/dev/null; grep -rlF {wanted} {places} 2>/dev/null; true"
    assert output("sh", "-c", script) == ""
    assert (
        output(
            "sh", "-c", "ls /var/lib/apt/lists /var/cache /tmp /root 2>/dev/null | grep -v ':$' | grep .; true"
        ).strip()
        == ""
    )
    print(f"{len(extra)} of {len(given)} certificates given to the build were looked for")


@pytest.mark.gpu_image
def test_gpu_flavour_has_every_cuda_library_but_the_drivers(output: Output, gpu_image: str) -> None:
    report = json.loads(output("berth-selfcheck", "--json", image=gpu_image))
    assert report["ok"], report["problems"]
    assert not report["tensorflow"]["tried"]
    missing = [name for name, path in report["cuda_libraries"].items() if path is None]
    assert missing == ["libcuda.so.1"]
    assert all(path.startswith("/opt/cuda/lib64/") for path in report["cuda_libraries"].values() if path)
    assert report["flavour"] == "gpu"
    environment = output("env", image=gpu_image)
    assert "TF_FORCE_GPU_ALLOW_GROWTH=true" in environment
    assert "CUDA_CACHE_PATH=/home/jovyan/.cache/cuda" in environment
    assert "NVIDIA_VISIBLE_DEVICES=void" in environment
    assert "LD_LIBRARY_PATH" not in environment
    assert output("ptxas", "--version", image=gpu_image).startswith("ptxas")
    assert output("ls", "/opt/cuda/nvvm/libdevice", image=gpu_image).split() == ["libdevice.10.bc"]


@pytest.mark.gpu_image
def test_gpu_flavour_shares_the_cpus_layers(engine: docker.DockerClient, image: str, gpu_image: str) -> None:
    cpu, gpu = (engine.images.get(name).attrs["RootFS"]["Layers"] for name in (image, gpu_image))
    assert gpu[: len(cpu)] == cpu
