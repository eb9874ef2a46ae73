"""Starts in real containers: the good one, and each way to fail; nothing may be left behind."""

import asyncio
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import NotFound
from jupyterhub.spawner import SpawnException

from spawner.backends import docker as backend
from spawner.engine.certificates import VARIABLES

from ..support.flaky_engine import FlakyEngine
from ..support.tiny_image import run_inside
from ..support.waiting import soon
from .conftest import Counted, MakeSpawner

pytestmark = pytest.mark.docker


def there(client: docker.APIClient, spawner: Any) -> bool:
    try:
        client.inspect_container(spawner.container_name)
    except NotFound:
        return False
    return True


def http_status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


async def test_start_poll_stop(
    client: docker.APIClient, make_spawner: MakeSpawner, hub_id: str, counted: Counted
) -> None:
    spawner = make_spawner("ann", "lab")
    assert await spawner.poll() == 0
    steps: list[dict[str, Any]] = []

    async def follow() -> None:
        steps.extend([step async for step in spawner.progress()])

    starting = asyncio.ensure_future(spawner.start())
    await asyncio.sleep(0)
    following = asyncio.ensure_future(follow())
    assert await spawner.poll() is None
    ip, port = await starting
    assert counted() == {"start ready": 1, "phase pull": 1, "phase create": 1, "phase ready": 1, "phase total": 1}
    assert http_status(f"http://{ip}:{port}/") == 404
    assert await spawner.poll() is None

    async with asyncio.timeout(5):
        await following
    assert [step["message"] for step in steps] == [
        "Container created.",
        "Container started; waiting for the server in it to answer.",
        "The server answers.",
    ]
    assert [step["progress"] for step in steps] == sorted(step["progress"] for step in steps)

    answer = client.inspect_container(spawner.object_id)
    assert answer["Name"] == f"/{spawner.container_name}"
    assert answer["Config"]["Labels"] == {"berth.hub": hub_id, "berth.user": "ann", "berth.server": "lab"}
    assert spawner.get_state()["object_id"] == answer["Id"]

    await spawner.stop()
    assert not there(client, spawner)
    assert await spawner.poll() == 0
    assert "object_id" not in spawner.get_state()
    await spawner.stop()


async def test_home_survives_and_is_shared_by_ones_servers(client: docker.APIClient, make_spawner: MakeSpawner) -> None:
    first = make_spawner("ann")
    await first.start()
    assert run_inside(client, first.object_id, "touch", "/home/jovyan/mine")[0] == 0
    await first.stop()
    again, named, other = make_spawner("ann"), make_spawner("ann", "second"), make_spawner("bob")
    await asyncio.gather(again.start(), named.start(), other.start())
    assert run_inside(client, again.object_id, "test", "-e", "/home/jovyan/mine")[0] == 0
    assert run_inside(client, named.object_id, "test", "-e", "/home/jovyan/mine")[0] == 0
    assert run_inside(client, other.object_id, "test", "-e", "/home/jovyan/mine")[0] == 1


async def test_what_is_given_to_the_container(
    client: docker.APIClient, make_spawner: MakeSpawner, tmp_path: Path
) -> None:
    shared, extra, certificate = tmp_path / "shared", tmp_path / "extra", tmp_path / "ca.pem"
    for directory in (shared, extra):
        directory.mkdir()
        (directory / "data").write_text("given\n")
    certificate.write_text("-----BEGIN CERTIFICATE-----\nY29tcGFueQ==\n-----END CERTIFICATE-----\n")
    spawner = make_spawner(
        environment={"GREETING": "hello", "PIP_CERT": "/mine.pem"},
        shared_dir=str(shared),
        mounts=[{"source": str(extra), "target": "/extra"}],
        certificates=[str(certificate)],
        data_dir=str(tmp_path),
    )
    await spawner.start()

    def inside(*command: str) -> tuple[int, str]:
        return run_inside(client, spawner.object_id, *command)

    environment = dict(line.split("=", 1) for line in inside("env")[1].splitlines())
    assert environment["GREETING"] == "hello"
    assert environment["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert environment["JUPYTERHUB_API_TOKEN"] == "token-of-ann"
    assert environment["MEM_LIMIT"] == str(64 << 20)
    assert environment["CPU_LIMIT"] == "0.5"
    assert environment["PIP_CERT"] == "/mine.pem"
    assert {environment[name] for name in VARIABLES if name != "PIP_CERT"} == {"/etc/berth/ca-bundle.pem"}
    assert "Y29tcGFueQ==" in inside("cat", "/etc/berth/ca-bundle.pem")[1]
    for target in ("/srv/shared", "/extra"):
        assert inside("cat", f"{target}/data") == (0, "given\n")
        assert inside("sh", "-c", f"echo x >{target}/data")[0] != 0


async def test_no_lease_no_devices_whatever_is_configured(client: docker.APIClient, make_spawner: MakeSpawner) -> None:
    spawner = make_spawner(environment={"NVIDIA_VISIBLE_DEVICES": "all"})
    await spawner.start()
    assert "NVIDIA_VISIBLE_DEVICES=void\n" in run_inside(client, spawner.object_id, "env")[1]
    assert client.inspect_container(spawner.object_id)["HostConfig"]["DeviceRequests"] is None


async def test_limits_and_hardening_as_the_engine_has_them(client: docker.APIClient, make_spawner: MakeSpawner) -> None:
    spawner = make_spawner()
    await spawner.start()
    host = client.inspect_container(spawner.object_id)["HostConfig"]
    assert (host["CpuQuota"], host["CpuPeriod"]) == (50_000, 100_000)
    assert host["Memory"] == host["MemorySwap"] == 64 << 20
    assert host["PidsLimit"] == 50
    assert host["ShmSize"] == 2 << 20
    assert [(u["Name"], u["Soft"], u["Hard"]) for u in host["Ulimits"]] == [("nofile", 256, 256)]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert not host["Privileged"]
    assert not host["AutoRemove"]
    assert host["PortBindings"] in (None, {})
    assert (host["PidMode"], host["UTSMode"], host["IpcMode"]) == ("", "", "private")
    assert not host["Devices"]


async def test_limits_and_hardening_as_seen_from_inside(client: docker.APIClient, make_spawner: MakeSpawner) -> None:
    spawner = make_spawner()
    await spawner.start()

    def inside(script: str) -> str:
        return run_inside(client, spawner.object_id, "sh", "-c", script)[1].strip()

    # Of the server itself, not of what is executed beside it.
    status = dict(line.split(":\t", 1) for line in inside("cat /proc/1/status").splitlines() if ":\t" in line)
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"
    assert status["Uid"].split() == ["1000"] * 4
    assert inside("id -u") == "1000"

    memory = inside("cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null")
    assert memory == str(64 << 20)
    swap = inside("cat /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes 2>/dev/null || echo none")
    assert swap in {str(64 << 20), "none"}
    assert inside("cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null") == "50"
    quota = inside("cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null").split()[0]
    assert quota == "50000"
    assert inside("grep 'Max open files' /proc/1/limits").split()[3:5] == ["256", "256"]
    assert inside("df -k /dev/shm | tail -n 1").split()[1] == "2048"
    assert inside("dd if=/dev/zero of=/dev/shm/x bs=1024 count=4096 2>/dev/null; ls -l /dev/shm/x").split()[4] == str(
        2 << 20
    )


async def test_a_server_that_ends_at_once_shows_its_last_words(
    client: docker.APIClient, make_spawner: MakeSpawner, counted: Counted
) -> None:
    spawner = make_spawner(behave="exit")
    with pytest.raises(SpawnException) as failed:
        await spawner.start()
    assert failed.value.reason == "container_exited"
    assert counted() == {"start failed container_exited": 1, "phase pull": 1, "phase create": 1}
    assert str(failed.value.jupyterhub_message) == (
        "The container ended before its server answered: exit code 3. Its last words:\n"
        "first words\n<b>ImportError</b>: no module named numpy"
    )
    shown = failed.value.jupyterhub_html_message
    assert "&lt;b&gt;ImportError&lt;/b&gt;" in shown
    assert "<b>" not in shown
    assert not there(client, spawner)
    assert await spawner.poll() == 0


async def test_a_server_that_needs_too_much_memory(client: docker.APIClient, make_spawner: MakeSpawner) -> None:
    spawner = make_spawner(behave="oom")
    with pytest.raises(SpawnException, match="it needed more memory than its 64 MiB") as failed:
        await spawner.start()
    assert failed.value.reason == "container_exited"
    assert not there(client, spawner)


async def test_a_server_that_does_not_answer_in_time(client: docker.APIClient, make_spawner: MakeSpawner) -> None:
    spawner = make_spawner(behave="mute", ready_timeout=1)
    with pytest.raises(SpawnException, match="its server did not answer within 1 s") as failed:
        await spawner.start()
    assert failed.value.reason == "server_not_ready"
    assert "I listen to nobody" in str(failed.value.jupyterhub_message)
    assert not there(client, spawner)
    assert await spawner.poll() == 0


async def test_a_container_that_somebody_removes(client: docker.APIClient, make_spawner: MakeSpawner) -> None:
    spawner = make_spawner(behave="mute")
    starting = asyncio.ensure_future(spawner.start())
    await soon(lambda: _running(client, spawner))
    client.remove_container(spawner.container_name, force=True)
    async with asyncio.timeout(30):
        with pytest.raises(SpawnException, match="The container ended before its server answered"):
            await starting


def _running(client: docker.APIClient, spawner: Any) -> bool:
    try:
        return bool(client.inspect_container(spawner.container_name)["State"]["Running"])
    except NotFound:
        return False


@pytest.mark.parametrize(
    ("options", "reason", "status"),
    [
        ({"profile": "tiny", "image": "evil:1"}, "invalid_option", 400),
        ({"profile": "tiny", "mem_limit": "64G"}, "invalid_option", 400),
        ({"profile": "tiny", "gpus": -1}, "invalid_option", 400),
        ({"profile": "staff"}, "unknown_profile", 403),
        ({"profile": "none-such"}, "unknown_profile", 403),
        ({"profile": "huge"}, "over_limit", 403),
        ({"profile": "tiny", "gpus": 1}, "no_gpus", 403),
    ],
)
async def test_what_may_not_be_had_is_refused_before_the_engine_hears_of_it(
    make_spawner: MakeSpawner,
    flaky: FlakyEngine,
    options: dict[str, Any],
    reason: str,
    status: int,
    counted: Counted,
) -> None:
    spawner = make_spawner()
    spawner.user_options = options
    with pytest.raises(SpawnException) as refused:
        await spawner.start()
    assert (refused.value.reason, refused.value.status_code) == (reason, status)
    assert flaky.seen("POST") == 0
    expected = {f"start refused {reason}": 1}
    assert counted() == (expected | {"request denied no_gpus": 1} if reason == "no_gpus" else expected)


async def test_an_image_that_is_not_here(make_spawner: MakeSpawner, counted: Counted) -> None:
    spawner = make_spawner(image="berth-test/none:1", pull="never")
    with pytest.raises(SpawnException, match=r"berth-test/none:1 .* could not be pulled") as failed:
        await spawner.start()
    assert failed.value.reason == "image_unavailable"
    assert counted() == {"start failed image_unavailable": 1}


async def test_start_cancelled_while_the_engine_creates(
    client: docker.APIClient, make_spawner: MakeSpawner, flaky: FlakyEngine
) -> None:
    spawner = make_spawner()
    flaky.hold("POST .*/containers/create")
    starting = asyncio.ensure_future(spawner.start())
    await soon(lambda: flaky.seen("POST .*/containers/create"))
    starting.cancel()
    await asyncio.sleep(0)
    flaky.heal()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await soon(lambda: not there(client, spawner))
    assert await spawner.poll() == 0


async def test_start_cancelled_while_the_engine_starts(
    client: docker.APIClient, make_spawner: MakeSpawner, flaky: FlakyEngine
) -> None:
    spawner = make_spawner()
    flaky.hold("POST .*/start")
    starting = asyncio.ensure_future(spawner.start())
    await soon(lambda: flaky.seen("POST .*/start"))
    starting.cancel()
    flaky.heal()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await soon(lambda: not there(client, spawner))


async def test_start_cancelled_while_the_server_comes_up(
    client: docker.APIClient, make_spawner: MakeSpawner, counted: Counted
) -> None:
    spawner = make_spawner(behave="mute")
    starting = asyncio.ensure_future(spawner.start())
    await soon(lambda: _running(client, spawner))
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert counted().items() >= {"start cancelled": 1, "phase pull": 1}.items()
    assert not counted().keys() & {"phase ready", "phase total", "start failed error"}
    await soon(lambda: not there(client, spawner))


async def test_the_engines_answer_to_create_is_lost(
    client: docker.APIClient, make_spawner: MakeSpawner, flaky: FlakyEngine
) -> None:
    spawner = make_spawner()
    flaky.lose("POST .*/containers/create")
    with pytest.raises(SpawnException) as failed:
        await spawner.start()
    assert failed.value.reason == "engine_unavailable"
    assert not there(client, spawner)


async def test_the_engine_fails_and_the_rest_is_removed_when_it_is_back(
    client: docker.APIClient, make_spawner: MakeSpawner, flaky: FlakyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_PATIENCE_SECONDS", 0.1)
    spawner = make_spawner()
    flaky.answer("POST .*/start", 500)
    flaky.answer("DELETE ", 500)
    with pytest.raises(SpawnException, match="The Docker Engine failed: told to fail by a test") as failed:
        await spawner.start()
    assert failed.value.reason == "engine_unavailable"
    assert there(client, spawner)
    assert not spawner._removal.done()
    flaky.heal()
    async with asyncio.timeout(20):
        await spawner._removal
    assert not there(client, spawner)


async def test_the_next_start_does_not_lose_its_container_to_the_last_ones_removal(
    client: docker.APIClient, make_spawner: MakeSpawner, flaky: FlakyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_PATIENCE_SECONDS", 0.1)
    spawner = make_spawner()
    flaky.answer("POST .*/start", 500, times=1)
    flaky.answer("DELETE ", 500, times=1)
    with pytest.raises(SpawnException):
        await spawner.start()
    await spawner.start()
    assert spawner._removal.done()
    assert await spawner.poll() is None
    assert there(client, spawner)


async def test_a_start_that_the_hub_has_given_up_ends_with_the_stop(
    client: docker.APIClient, make_spawner: MakeSpawner
) -> None:
    # The hub does not cancel a start that takes too long: it calls stop, and later starts with another spawner.
    given_up = make_spawner(behave="mute", ready_timeout=3)
    starting = asyncio.ensure_future(given_up.start())
    await soon(lambda: _running(client, given_up))
    await given_up.stop()
    later = make_spawner()
    await later.start()
    with pytest.raises(BaseException):  # noqa: B017, PT011  whichever
        await starting
    assert await later.poll() is None
    assert there(client, later)
