"""What a user may not have is refused at the API as on the form."""

import stat
from collections.abc import Iterator

import docker
import pytest
import requests

from ..support.berth import Berth, containers_of, deployment, eventually

pytestmark = [pytest.mark.docker, pytest.mark.image, pytest.mark.hub]

SETTINGS = """
limits:
  default: {cpu: 2, memory: 4 GiB}
  groups:
    staff: {memory: 8 GiB}
profiles:
  - {slug: small, name: Small, cpu: 1, memory: 1 GiB}
  - {slug: large, name: Large, cpu: 1, memory: 8 GiB}
  - {slug: staff, name: Staff only, cpu: 1, memory: 1 GiB, groups: [staff]}
  - {slug: gpu, name: GPU, cpu: 1, memory: 1 GiB, gpus: 1}
  - {slug: missing, name: Missing, cpu: 1, memory: 1 GiB, image: "berth/there-is-none:1"}
  - {slug: broken, name: Broken, cpu: 1, memory: 1 GiB, image: "berth/test-broken:1"}
pull: never
"""


@pytest.fixture(scope="module")
def berth(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    directory = tmp_path_factory.mktemp("refusals")
    settings = directory / "berth.yaml"
    settings.write_text(SETTINGS)
    with deployment(directory, BERTH_CONFIG=str(settings), BERTH_GPUS="none") as berth, berth.hub():
        berth.add_user("ann")
        yield berth


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ({"profile": "nope"}, 403, "no profile 'nope'"),
        ({"profile": "staff"}, 403, "no profile 'staff'"),
        ({"profile": "large"}, 403, "memory 8 GiB, your limit is 4 GiB (from: default)"),
        ({"profile": "gpu"}, 403, "this hub has none such to hand out"),
        ({"profile": "small", "gpus": 2}, 403, "2 GPUs asked for; your limit is 1 (from: default)"),
        ({"profile": "small", "gpus": -1}, 400, "gpus must be"),
        ({"profile": "small", "hours": "all"}, 400, "hours must be"),
        ({"profile": "small", "if_busy": "kill"}, 400, "if_busy must be"),
        ({"profile": "small", "image": "debian"}, 400, "'image' cannot be chosen"),
        ({"profile": "small", "mem_limit": "1T"}, 400, "'mem_limit' cannot be chosen"),
        ({"profile": "missing"}, 500, "could not be pulled"),
    ],
)
def test_refused_with_a_reason_and_without_a_trace(
    berth: Berth, engine: docker.DockerClient, options: dict[str, object], status: int, words: str
) -> None:
    answer = berth.start_server("ann", options)
    assert (answer.status_code, words in answer.json()["message"]) == (status, True), answer.text
    assert containers_of(engine, berth) == []
    assert berth.servers("ann") == {}


def test_groups_open_profiles_and_limits(berth: Berth, engine: docker.DockerClient) -> None:
    berth.add_user("eve")
    berth.api("POST", "groups/staff").raise_for_status()
    berth.api("POST", "groups/staff/users", {"users": ["eve"]}).raise_for_status()
    assert berth.start_server("eve", {"profile": "staff"}).status_code == 201
    host = containers_of(engine, berth, "eve")[0].attrs["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["CpuQuota"]) == (1 << 30, 1 << 30, 100_000)
    assert berth.api("DELETE", "users/eve/server").status_code in {202, 204}


def test_metrics_name_the_refusal(berth: Berth) -> None:
    berth.start_server("ann", {"profile": "large"})
    metrics = berth.api("GET", "../metrics").text
    assert 'berth_spawns_total{outcome="refused",reason="over_limit"}' in metrics


def test_prometheus_reads_metrics_and_nothing_else(berth: Berth) -> None:
    assert stat.S_IMODE(berth.state.prometheus_token_file.stat().st_mode) == 0o600
    token = berth.state.prometheus_token_file.read_text().strip()
    address = f"{berth.url}/hub/metrics"
    said = requests.get(address, headers={"Authorization": f"Bearer {token}"}, timeout=30)
    assert said.status_code == 200
    assert "\njupyterhub_active_users{" in said.text
    assert "\nberth_spawn_phase_seconds_bucket{" in said.text
    assert requests.get(address, timeout=30).status_code == 403
    assert requests.get(address, headers={"Authorization": f"Bearer {token[::-1]}"}, timeout=30).status_code == 403
    users = requests.get(f"{berth.url}/hub/api/users", headers={"Authorization": f"Bearer {token}"}, timeout=30)
    assert users.status_code == 403
    eventually(lambda: "\nberth_ledger_up 1.0\n" in berth.scrape(berth.janitor_metrics))
