"""Users' containers: the engine's request built from plain values, and removal that is confirmed."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import docker
from docker.errors import APIError, NotFound

from ..errors import LimitRefused
from ..policy.model import Limits
from .devices import NO_GPUS, GpuAccess, refusal_of_gpus, with_gpus
from .network import NO_NAME_SERVER
from .view import HUB_LABEL, ContainerState, state_from_inspect

USER_LABEL = "berth.user"
SERVER_LABEL = "berth.server"
LEASE_LABEL = "berth.lease"
SLOTS_LABEL = "berth.slots"
SESSION_LABEL = "berth.session"  # of containers in an exam, and of the volumes that stand for homes there
HOME = "/home/jovyan"
SHARED = "/srv/shared"
_CPU_PERIOD = 100_000  # microseconds; the kernel's default


@dataclass(frozen=True, slots=True)
class Mount:
    """A bind mount (absolute `source`) or a named volume.

    Attributes
    ----------
    ours
        Whether a volume that the engine makes for it gets the hub's label, and so is purged with it.
    """

    source: str
    target: str
    read_only: bool = True
    ours: bool = False


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """All that makes a user's container.

    Attributes
    ----------
    server
        Name of the server, ``""`` for the default one.
    command
        Empty for the image's own.
    host_config
        Further keys of the engine's HostConfig; they go before ours, but give no GPUs.
    lease, slots
        Id of the lease and its slots' ids, for the labels; empty without GPUs.
    gpu_access
        What gives the container these slots' GPUs, from `spawner.engine.devices`.
    exam
        Id of the session whose exam it is in; empty for none. `home_volume` is then that exam's, and no name is asked
        of any name server.
    """

    name: str
    hub_id: str
    user: str
    server: str
    image: str
    port: int
    network: str
    home_volume: str
    limits: Limits
    environment: Mapping[str, str]
    command: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    host_config: Mapping[str, Any] = field(default_factory=dict)
    lease: str = ""
    slots: tuple[str, ...] = ()
    gpu_access: GpuAccess = NO_GPUS
    exam: str = ""


def create_request(spec: ContainerSpec) -> dict[str, Any]:
    """Build the body of ``POST /containers/create`` (Engine API 1.24 and later).

    Hardened: no capabilities, no new privileges, the engine's default seccomp profile, no swap beyond the memory
    limit (``MemorySwap`` is the sum of both), bounded processes and open files. Not removed by the engine itself,
    so that the time of its end can still be read.
    """
    limits, owner = spec.limits, {HUB_LABEL: spec.hub_id, USER_LABEL: spec.user}
    environment = {**spec.environment, **spec.gpu_access.environment}
    held = {LEASE_LABEL: spec.lease, SLOTS_LABEL: ",".join(spec.slots)} if spec.lease else {}
    sits = {SESSION_LABEL: spec.exam} if spec.exam else {}
    body: dict[str, Any] = {
        "Image": spec.image,
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": {**owner, SERVER_LABEL: spec.server, **held, **sits},
        "ExposedPorts": {f"{spec.port}/tcp": {}},
        "HostConfig": {
            "NetworkMode": spec.network,
            "CpuPeriod": _CPU_PERIOD,
            "CpuQuota": int(limits.cpu * _CPU_PERIOD),
            "Memory": limits.memory,
            "MemorySwap": limits.memory,
            "PidsLimit": limits.processes,
            "ShmSize": limits.shm,
            "Ulimits": [{"Name": "nofile", "Soft": limits.open_files, "Hard": limits.open_files}],
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Privileged": False,
            "Mounts": [_home(spec, owner), *(_mount(mount, spec.hub_id) for mount in spec.mounts)],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}},
            **with_gpus(spec.host_config, spec.gpu_access),
            **(_in_exam(spec) if spec.exam else {}),
        },
    }
    if spec.command:
        body["Cmd"] = list(spec.command)
    return body


def _home(spec: ContainerSpec, owner: dict[str, str]) -> dict[str, Any]:
    # The engine makes a missing volume, with these labels, and fills an empty one from the image.
    return {
        "Type": "volume",
        "Source": spec.home_volume,
        "Target": HOME,
        "VolumeOptions": {"Labels": {**owner, SESSION_LABEL: spec.exam} if spec.exam else owner},
    }


def _in_exam(spec: ContainerSpec) -> dict[str, Any]:
    """Say what no further key may change in an exam."""
    return {"NetworkMode": spec.network, "Dns": [NO_NAME_SERVER], "DnsSearch": ["."], "ExtraHosts": []}


def _mount(mount: Mount, hub_id: str) -> dict[str, Any]:
    kind = "bind" if mount.source.startswith("/") else "volume"
    made = {"Type": kind, "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only}
    return {**made, "VolumeOptions": {"Labels": {HUB_LABEL: hub_id}}} if mount.ours else made


def create(client: docker.APIClient, spec: ContainerSpec) -> str:
    """Create the container and give its id; an older one of the same name is removed first.

    A leftover is never started again: it holds the devices and limits of the day it was made.

    Raises
    ------
    docker.errors.ImageNotFound
        If the image is not on the engine.
    GpuRuntimeMissing
        If the engine lost its way to give GPUs to containers.
    """
    body = create_request(spec)
    try:
        answer = client.create_container_from_config(body, spec.name)
    except APIError as error:
        if error.response is None or error.response.status_code != 409:
            _translate(error)
            raise
        remove(client, spec.name)
        answer = client.create_container_from_config(body, spec.name)
    return str(answer["Id"])


def start(client: docker.APIClient, container: str) -> None:
    """Start a container.

    Raises
    ------
    LimitRefused
        If the kernel refuses a limit, which is a matter of the settings and not of the engine's health.
    GpuRefused, GpuRuntimeMissing
        If the container cannot have its GPUs.
    """
    try:
        client.start(container)
    except APIError as error:
        if "error setting rlimit" in (error.explanation or ""):
            raise LimitRefused(
                "The engine may not open as many files as the limit open_files says. Lower it in the settings "
                "(limits, or the profile's), or start the engine with a higher limit (LimitNOFILE)."
            ) from error
        _translate(error)
        raise


def _translate(error: APIError) -> None:
    refusal = refusal_of_gpus(error)
    if refusal is not None:
        raise refusal from error


def in_exam(client: docker.APIClient, hub_id: str, session: str) -> frozenset[tuple[str, str]]:
    """List whose servers run in a session's exam: user and server."""
    listed = client.containers(filters={"label": [f"{HUB_LABEL}={hub_id}", f"{SESSION_LABEL}={session}"]})
    return frozenset((one["Labels"].get(USER_LABEL, ""), one["Labels"].get(SERVER_LABEL, "")) for one in listed)


def inspect(client: docker.APIClient, container: str) -> dict[str, Any] | None:
    """Give the engine's answer, or None where it says that there is no such container."""
    try:
        answer: dict[str, Any] = client.inspect_container(container)
    except NotFound:
        return None
    return answer


def state(client: docker.APIClient, container: str) -> ContainerState | None:
    answer = inspect(client, container)
    return None if answer is None else state_from_inspect(answer)


def address(answer: dict[str, Any], network: str) -> str:
    """Read a container's IP address in `network` from an inspect answer; empty if it has none."""
    networks = answer["NetworkSettings"]["Networks"]
    return str(networks.get(network, {}).get("IPAddress", ""))


def last_lines(client: docker.APIClient, container: str, count: int = 20) -> str:
    """Give the end of a container's log; empty where there is none to be had."""
    try:
        raw: bytes = client.logs(container, tail=count)
    except APIError:
        return ""
    return raw.decode("utf-8", "replace").strip()


def run_inside(client: docker.APIClient, container: str, command: Sequence[str]) -> tuple[int, str]:
    """Run a command in a running container; gives its exit status and what it printed."""
    started = client.exec_create(container, list(command), stderr=False)["Id"]
    printed: bytes = client.exec_start(started)
    return int(client.exec_inspect(started)["ExitCode"]), printed.decode("utf-8", "replace")


def stop(client: docker.APIClient, container: str, grace: int) -> None:
    """End a container: SIGTERM, after `grace` seconds SIGKILL. Returns when it has ended."""
    try:
        client.stop(container, timeout=grace)
    except NotFound:
        return


def remove(client: docker.APIClient, container: str) -> None:
    """Kill and remove a container, named volumes spared. Returns only when the engine says that it is gone.

    Raises
    ------
    docker.errors.APIError
        If it is still there.
    """
    try:
        client.remove_container(container, force=True, v=True)
    except NotFound:
        return
    except APIError as error:
        # 409: somebody else is removing it already.
        if error.response is None or error.response.status_code != 409:
            raise
        with contextlib.suppress(NotFound):  # done already
            client.wait(container, condition="removed")
