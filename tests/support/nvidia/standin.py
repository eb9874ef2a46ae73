"""What stands in for the NVIDIA Container Toolkit: its hook, and its OCI runtime.

``standin.py PLACES hook prestart``: called by runc as a prestart hook, with the container's state on standard input.
``standin.py PLACES runtime ...``: called in place of runc, which it executes at the end.

PLACES is a JSON file: ``devices`` maps UUIDs to indices, ``library`` is the stub of NVML, ``log`` takes a
line of JSON for each container that names NVIDIA_VISIBLE_DEVICES, ``runc`` is the runtime underneath, ``broken`` is
a file: while it exists, its text is what the driver fails with.

Nodes are character devices 1:3 (/dev/null): the device cgroup of a container lets no others pass.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

LIBRARY = "usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"


def main() -> None:
    places = json.loads(Path(sys.argv[1]).read_text())
    if sys.argv[2] == "hook":
        run_hook(places)
    else:
        run_runtime(places, sys.argv[3:])


def run_hook(places: dict[str, Any]) -> None:
    state = json.load(sys.stdin)
    bundle = Path(state["bundle"])
    config = json.loads((bundle / "config.json").read_text())
    nodes = wanted(places, config, "hook", state["id"])
    if nodes is None:
        return
    # The container's mounts are made, and its root is not changed yet.
    root = bundle / config["root"]["path"]
    target = root / LIBRARY
    commands = [
        *(f"mknod -m 666 {root}/dev/nvidia{index} c 1 3" for index in nodes),
        f"mkdir -p {target.parent}",
        f"touch {target}",
        f"mount --bind {places['library']} {target}",
    ]
    inside = ["nsenter", "--target", str(state["pid"]), "--mount", "sh", "-ec", "\n".join(commands)]
    subprocess.run(inside, check=True)


def run_runtime(places: dict[str, Any], arguments: list[str]) -> None:
    if "create" in arguments:
        bundle = Path(arguments[arguments.index("--bundle") + 1])
        config = json.loads((bundle / "config.json").read_text())
        try:
            nodes = wanted(places, config, "runtime", arguments[-1])
        except SystemExit as end:
            # NVIDIA's runtime leaves the work to its hook, whose end runc then tells where the engine looks.
            told = {"level": "error", "msg": f"error running hook #0: exit status 1, stdout: , stderr: {end}"}
            Path(arguments[arguments.index("--log") + 1]).write_text(json.dumps(told))
            raise
        if nodes is not None:
            add(config, places["library"], nodes)
            (bundle / "config.json").write_text(json.dumps(config))
    os.execvp(places["runc"], [places["runc"], *arguments])


def add(config: dict[str, Any], library: str, nodes: list[int]) -> None:
    """Add nodes and library to an OCI configuration."""
    linux = config["linux"]
    node = {"type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 0, "gid": 0}
    linux.setdefault("devices", []).extend({**node, "path": f"/dev/nvidia{index}"} for index in nodes)
    allowed = linux.setdefault("resources", {}).setdefault("devices", [])
    allowed.append({"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"})
    bound = {"destination": f"/{LIBRARY}", "type": "bind", "source": library, "options": ["rbind", "ro"]}
    config["mounts"].append(bound)


def wanted(places: dict[str, Any], config: dict[str, Any], way: str, container: str) -> list[int] | None:
    """Give the indices of the GPUs that a container may see; None if it is none of ours."""
    environment = dict(entry.partition("=")[::2] for entry in config["process"]["env"])
    visible = environment.get("NVIDIA_VISIBLE_DEVICES")
    if visible is not None:
        with Path(places["log"]).open("a") as log:
            log.write(json.dumps({"way": way, "container": container, "visible": visible}) + "\n")
    if visible in {None, "", "void"}:
        return None
    broken = Path(places["broken"])
    if broken.exists():
        sys.exit(f"nvidia-container-cli: {broken.read_text()}")
    if visible == "none":
        return []
    if visible == "all":
        return sorted(set(places["devices"].values()))
    ids = str(visible).split(",")
    for device in ids:
        if device not in places["devices"]:
            sys.exit(f"nvidia-container-cli: device error: {device}: unknown device")
    return sorted({places["devices"][device] for device in ids})


if __name__ == "__main__":
    main()
