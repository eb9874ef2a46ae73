"""What the image's own check says of a container's GPUs, told while its server starts."""

import json
from typing import Any

from docker.errors import APIError

from ..engine import containers
from ..engine.client import Engine
from ..errors import EngineUnavailable

_PROGRAM = ("/opt/berth/bin/berth-selfcheck", "--json")


async def selfcheck(engine: Engine, container: str) -> str:
    """Run the check in a container; gives a sentence for its user, empty where the image has no check."""
    try:
        _, printed = await engine.call("quick", lambda client: containers.run_inside(client, container, _PROGRAM))
        return verdict(json.loads(printed)["gpu"])
    except (APIError, EngineUnavailable, ValueError, KeyError, TypeError):
        # An image of one's own need not have it, and a check that fails must not keep anybody from the server.
        return ""


def verdict(gpu: dict[str, Any]) -> str:
    """Say what the check's part ``gpu`` means."""
    expected, seen = int(gpu["expected"]), int(gpu["seen"])
    many = f"{expected} GPU{'' if expected == 1 else 's'}"
    if gpu["simulated"]:
        return f"Checked: {many}, simulated; TensorFlow computes on the CPU."
    if gpu["lost"] or seen != expected:
        return f"Checked: the server sees {seen} of {many}. {gpu['problem']}".strip()
    models = ", ".join(dict.fromkeys(str(device["model"]) for device in gpu.get("devices", [])))
    return f"Checked: the server sees its {many}{f' ({models})' if models else ''}."
