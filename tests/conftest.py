"""What decides whether a test can run on this machine, and says so when it cannot."""

import shutil
from collections import Counter

import docker
import pytest
import requests
from docker.errors import DockerException
from hypothesis import HealthCheck, settings

from spawner.settings import DEFAULT_IMAGE

from .support import nvidia_smi, nvml, postgres
from .support.engine_fixtures import client, hub_id, tiny  # noqa: F401  for tests in any directory
from .support.ledgers import postgres_cluster  # noqa: F401  likewise
from .support.nvidia.engine import gpu_engine  # noqa: F401  likewise

GPU_IMAGE = DEFAULT_IMAGE.replace("-cpu", "-gpu")
# How long an example takes says something about who else uses the machine.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")


def _why_not() -> dict[str, str]:
    """Give the reason for each marker whose tests cannot run here."""
    reasons = {}
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        reasons["browser"] = "no Chromium: apt-get install chromium"
    if nvml.why_not():
        reasons["nvml"] = nvml.why_not()
    if nvidia_smi.why_not():
        reasons["gpu"] = nvidia_smi.why_not()
    if reason := postgres.why_not():
        reasons["postgres"] = reason
    if not all(map(shutil.which, ("prometheus", "promtool"))):
        reasons["prometheus"] = "no Prometheus: apt-get install prometheus"
    try:
        client = docker.from_env(timeout=20)
        for marker, image in (("image", DEFAULT_IMAGE), ("gpu_image", GPU_IMAGE)):
            if not client.images.list(image):
                reasons[marker] = f"no image {image}: make images FLAVOUR={image.rpartition('-')[2]}"
        client.close()
    except (DockerException, requests.RequestException) as error:
        for marker in ("docker", "image", "gpu_image"):
            reasons[marker] = f"no Docker Engine: {error}"
    return reasons


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reasons = _why_not()
    for item in items:
        reason = next((why for marker, why in reasons.items() if item.get_closest_marker(marker)), None)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", ()))
    for reason, count in skipped.items():
        why = reason.removeprefix("Skipped: ")
        terminalreporter.write_line(f"NOT TESTED HERE: {count} tests, {why}", yellow=True, bold=True)
