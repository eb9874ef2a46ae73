"""Whether the container still reaches its GPUs, found out by programs of their own."""

import asyncio
import json
import os
from typing import Any

PROBE = "/opt/berth/bin/berth-nvml"
SELF_CHECK = "/opt/berth/bin/berth-selfcheck"
_PROBE_SECONDS = 10
_SELF_CHECK_SECONDS = 60


def expected() -> int:
    """Give the number of GPUs that the lease put into this container."""
    text = os.environ.get("BERTH_GPU_COUNT", "")
    return int(text) if text.isdigit() else 0


def simulated() -> bool:
    return os.environ.get("BERTH_GPU_SIMULATED", "0") not in {"", "0"}


def not_looked_yet() -> dict[str, Any]:
    return {"expected": expected(), "seen": expected(), "simulated": simulated(), "lost": False, "problem": ""}


async def probe() -> dict[str, Any]:
    """Say which GPUs there are: ``expected``, ``seen``, ``simulated``, ``lost`` and ``problem`` (empty if none).

    In a fresh process each time. One that has used NVML before keeps its open files and does not notice that the
    container has lost the right to open them; and a call into a driver that hangs never returns.
    """
    found = await _run(_PROBE_SECONDS, PROBE)
    if found is not None:
        return found
    problem = f"NVML ended in an error or did not answer within {_PROBE_SECONDS} s: the GPU or its driver hangs."
    return {**not_looked_yet(), "seen": 0, "lost": expected() > 0, "problem": problem if expected() else ""}


async def self_check() -> dict[str, Any] | None:
    """Give the findings of berth-selfcheck, or None if it came to none."""
    return await _run(_SELF_CHECK_SECONDS, "/usr/bin/nice", "-n", "10", SELF_CHECK, "--json")


async def _run(seconds: float, *command: str) -> dict[str, Any] | None:
    """Run a program that writes a JSON object."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate()
        found = json.loads(output)
    except TimeoutError:
        process.kill()  # and not waited for: what hangs in the kernel does not end
        return None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
