"""How GPUs get into containers: which ways an engine has, and what a container's request says for each.

A container is given the GPUs of its lease by name and never by number: an engine that is asked for "one GPU" gives
everybody the first one. Without a lease it is told to take none, because CUDA images ask for all of them.
"""

import enum
import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import docker
import yaml
from docker.errors import APIError, NotFound

from ..errors import BerthError, EngineUnavailable, GpuRefused, GpuRuntimeMissing
from ..policy.gpus import Slot
from .client import engine_errors

SIMULATED_GPUS = "BERTH_SIMULATED_GPUS"  # names the simulated GPUs of a lease inside its container
_CDI_KIND = "nvidia.com/gpu"
_RUNTIME = "nvidia"
_NO_PROGRAM = "/berth-no-such-program"
_LOCAL_SOCKET = "http+docker://localhost"  # docker-py's base address for an engine behind a Unix socket
_INSTALL = (
    "On the engine's host install the package nvidia-container-toolkit, then as root: "
    "nvidia-ctk runtime configure --runtime=docker && systemctl restart docker"
)


class GpuWay(enum.StrEnum):
    """How a container is given its GPUs.

    ``cdi``: the engine's own Container Device Interface. ``nvidia``: its device driver of that name, which runs
    NVIDIA's hook. ``runtime``: NVIDIA's OCI runtime. ``simulated``: not at all, there are none.
    """

    CDI = "cdi"
    NVIDIA = "nvidia"
    RUNTIME = "runtime"
    SIMULATED = "simulated"


Wish = Literal["auto", "cdi", "nvidia", "runtime"]


@dataclass(frozen=True, slots=True)
class GpuAccess:
    """What a container's request says about GPUs; stronger than anything else said there.

    Attributes
    ----------
    host_config
        Keys of the engine's HostConfig.
    """

    environment: Mapping[str, str]
    host_config: Mapping[str, Any] = field(default_factory=dict)


# "void": no GPU and no driver. CUDA takes -1 for no device, whatever the image says.
NO_GPUS = GpuAccess({"NVIDIA_VISIBLE_DEVICES": "void", "CUDA_VISIBLE_DEVICES": "-1"})


def gpu_access(devices: Sequence[str], way: GpuWay) -> GpuAccess:
    """Build the parts of a container's request that give it these GPUs and no others.

    Parameters
    ----------
    devices
        UUIDs of GPUs or MIG instances, as `spawner.policy.gpus.Slot.device`; one that is named twice counts once.

    Raises
    ------
    ValueError
        If one is not a UUID: ``all`` and ``0`` mean something else to the engine on each reboot.
    """
    if not devices:
        return NO_GPUS
    ids = list(dict.fromkeys(devices))
    for device in ids:
        if not re.fullmatch(r"[A-Z]+-[\w./:-]+", device):
            raise ValueError(f"not the UUID of a GPU or MIG instance: {device!r}")
    listed = ",".join(ids)
    visible = {"NVIDIA_VISIBLE_DEVICES": listed, "CUDA_VISIBLE_DEVICES": listed}
    match way:
        case GpuWay.SIMULATED:
            return GpuAccess({**NO_GPUS.environment, SIMULATED_GPUS: listed})
        case GpuWay.CDI:
            # "void", lest an NVIDIA runtime that is the engine's default adds what the engine has added already.
            named = {"Driver": "cdi", "DeviceIDs": [f"{_CDI_KIND}={device}" for device in ids]}
            return GpuAccess({**visible, "NVIDIA_VISIBLE_DEVICES": "void"}, {"DeviceRequests": [named]})
        case GpuWay.NVIDIA:
            asked = {"Driver": "nvidia", "DeviceIDs": ids, "Capabilities": [["gpu"]]}
            return GpuAccess(visible, {"DeviceRequests": [asked]})
        case GpuWay.RUNTIME:
            return GpuAccess(visible, {"Runtime": _RUNTIME})


def with_gpus(host_config: Mapping[str, Any], access: GpuAccess) -> dict[str, Any]:
    """Give an administrator's HostConfig the GPUs of a lease in place of any that it asks for itself.

    Other devices that it asks for stay.
    """
    asked = [request for request in host_config.get("DeviceRequests") or [] if not _asks_for_gpus(request)]
    requests = [*asked, *access.host_config.get("DeviceRequests", [])]
    merged = {**host_config, **access.host_config, "DeviceRequests": requests}
    return {name: value for name, value in merged.items() if name != "DeviceRequests" or value}


def _asks_for_gpus(request: Mapping[str, Any]) -> bool:
    if request.get("Driver") == "cdi":
        return any(str(name).startswith("nvidia.com/") for name in request.get("DeviceIDs") or [])
    return request.get("Driver") in {None, "", "nvidia"}


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What an engine says of its ways.

    Attributes
    ----------
    id
        Of the engine, stable over restarts; with its directory, because old engines on one machine share an id.
    cdi_spec_dirs
        Where it looks for CDI specifications; empty if it does not support CDI or has it switched off.
    cdi_devices
        Qualified names of the devices that it found there; None if it does not tell (before Engine 28.2).
    """

    id: str
    version: str
    runtimes: frozenset[str]
    cdi_spec_dirs: tuple[str, ...] = ()
    cdi_devices: frozenset[str] | None = None


def facts_from_info(info: Mapping[str, Any]) -> EngineFacts:
    """Read ``GET /info``."""
    found = info.get("DiscoveredDevices")
    return EngineFacts(
        f"{info.get('ID', '')} {info.get('DockerRootDir', '')}",
        str(info.get("ServerVersion", "")),
        frozenset(info.get("Runtimes") or {}),
        tuple(info.get("CDISpecDirs") or ()),
        # The key is left out where nothing was found, too; then the specifications themselves are looked at.
        None if found is None else frozenset(str(entry["ID"]) for entry in found if entry.get("Source") == "cdi"),
    )


def choose_way(
    facts: EngineFacts,
    devices: Iterable[str],
    has_driver: Callable[[], bool],
    wish: Wish = "auto",
    local_cdi_devices: frozenset[str] | None = None,
) -> GpuWay:
    """Choose how these GPUs get into a container: CDI, else the engine's driver, else NVIDIA's runtime.

    Parameters
    ----------
    has_driver
        Tells whether the engine has its ``nvidia`` device driver, of which it says nothing itself. Called at need.
    wish
        A way to take, whatever else there is.
    local_cdi_devices
        Names in the CDI specifications of this machine, for an engine here that does not tell; None for one elsewhere.

    Raises
    ------
    GpuRuntimeMissing
        If the engine has no way, or not the one wished for.
    """
    if wish in {"auto", "cdi"}:
        lacking = _lacking_cdi(facts, devices, local_cdi_devices)
        if not lacking:
            return GpuWay.CDI
        if wish == "cdi":
            raise GpuRuntimeMissing(lacking)
    if wish in {"auto", "nvidia"} and has_driver():
        return GpuWay.NVIDIA
    if wish in {"auto", "runtime"} and _RUNTIME in facts.runtimes:
        return GpuWay.RUNTIME
    what = {
        "auto": "has no way to give GPUs to containers",
        "nvidia": "has no device driver `nvidia`",
        "runtime": "has no runtime `nvidia`",
    }[wish]
    raise GpuRuntimeMissing(f"The Docker Engine {facts.version} {what}. {_INSTALL}")


def _lacking_cdi(facts: EngineFacts, devices: Iterable[str], local: frozenset[str] | None) -> str:
    """Say what CDI lacks for these devices; empty if nothing."""
    if not facts.cdi_spec_dirs:
        return (
            f"The Docker Engine {facts.version} does not give GPUs to containers by CDI. "
            "That takes Engine 28, or 25 with the feature `cdi` switched on in its daemon.json."
        )
    known = facts.cdi_devices or local
    if known is None:
        return (
            f"The Docker Engine {facts.version} does not tell which GPUs it can give by CDI. "
            "Engine 28.2 and later do; or choose another way."
        )
    missing = ", ".join(device for device in devices if f"{_CDI_KIND}={device}" not in known)
    if missing or not any(name.startswith(f"{_CDI_KIND}=") for name in known):
        return (
            f"The CDI specifications in {', '.join(facts.cdi_spec_dirs)} do not name {missing or 'any GPU'}. As root: "
            "nvidia-ctk cdi generate --device-name-strategy=uuid --output=/etc/cdi/nvidia.yaml"
        )
    return ""


def read_cdi_specs(directories: Iterable[str]) -> frozenset[str]:
    """List the qualified names of all devices in CDI specifications; files that cannot be read name none."""
    names: set[str] = set()
    for directory in directories:
        for path in sorted(Path(directory).glob("*.*")):
            if path.suffix not in {".json", ".yaml", ".yml"}:
                continue
            with suppress(OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
                text = path.read_text(encoding="utf-8")
                spec = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
                names |= {f"{spec['kind']}={device['name']}" for device in spec["devices"]}
    return frozenset(names)


_WITH_DRIVER: set[str] = set()  # ids of engines; a driver that was there stays until the engine restarts


def has_nvidia_driver(client: docker.APIClient, image: str) -> bool:
    """Find out whether the engine has its ``nvidia`` device driver.

    The engine tells nowhere; but it chooses the driver when a container starts, before it looks for the program. So
    it is asked to start a program that does not exist, and which error comes first gives the answer.

    Parameters
    ----------
    image
        Any image on the engine.

    Raises
    ------
    EngineUnavailable
        If the engine fails for another reason.
    docker.errors.ImageNotFound
        If there is no such image.
    """
    body = {
        "Image": image,
        "Entrypoint": [_NO_PROGRAM],
        "Env": ["NVIDIA_VISIBLE_DEVICES=void"],
        "HostConfig": {
            "NetworkMode": "none",
            "CapDrop": ["ALL"],
            "DeviceRequests": [{"Driver": "nvidia", "Capabilities": [["gpu"]]}],
        },
    }
    with engine_errors():
        name = f"berth-gpu-probe-{secrets.token_hex(4)}"
        container = client.create_container_from_config(body, name)["Id"]
        try:
            client.start(container)
        except APIError as error:
            said = str(error.explanation or error)
            if "could not select device driver" in said:
                return False
            if not re.search(rf"{_NO_PROGRAM}|nvidia|CDI", said):
                raise EngineUnavailable(f"The Docker Engine failed to start a container: {said}") from error
        finally:
            with suppress(NotFound):
                client.remove_container(container, force=True, v=True)
    return True


def find_way(client: docker.APIClient, devices: Sequence[str], image: str, wish: Wish = "auto") -> GpuWay:
    """Ask the engine how it can give these GPUs to a container, or GPUs at all where none is named.

    Raises
    ------
    EngineUnavailable
        If it does not answer.
    GpuRuntimeMissing
        See `choose_way`.
    """
    with engine_errors():
        facts = facts_from_info(client.info())

    def has_driver() -> bool:
        if facts.id not in _WITH_DRIVER and has_nvidia_driver(client, image):
            _WITH_DRIVER.add(facts.id)
        return facts.id in _WITH_DRIVER

    local = read_cdi_specs(facts.cdi_spec_dirs) if client.base_url == _LOCAL_SOCKET else None
    return choose_way(facts, devices, has_driver, wish, local)


def access_for(client: docker.APIClient, slots: Sequence[Slot], image: str, wish: Wish = "auto") -> GpuAccess:
    """Say how a container gets a lease's slots on this engine; blocks while the engine is asked.

    Raises
    ------
    EngineUnavailable
        If the engine does not answer.
    GpuRuntimeMissing
        If it has no way to give them.
    ValueError
        If the slots are partly simulated.
    """
    devices = [slot.device for slot in slots]
    simulated = {slot.simulated for slot in slots}
    if len(simulated) > 1:
        raise ValueError("real and simulated GPUs in one lease")
    if not devices or simulated == {True}:
        return gpu_access(devices, GpuWay.SIMULATED)
    return gpu_access(devices, find_way(client, devices, image, wish))


def refusal_of_gpus(error: APIError) -> BerthError | None:
    """Translate what an engine says when it cannot give a container its GPUs; None if it says something else."""
    said = str(error.explanation or error)
    if re.search(r"could not select device driver|[Uu]nknown.* runtime (specified|name).*nvidia", said):
        _WITH_DRIVER.clear()
        return GpuRuntimeMissing(f"The Docker Engine has no way to give GPUs to containers any more. {_INSTALL}")
    if "unresolvable CDI devices" in said:
        return GpuRuntimeMissing(
            f"The engine's CDI specifications do not name the GPU ({_first_line(said)}). As root: "
            "nvidia-ctk cdi generate --device-name-strategy=uuid --output=/etc/cdi/nvidia.yaml"
        )
    told = re.search(r"(?<=nvidia-container-cli: )[^\n\\]+|(?<=CDI device injection failed: )[^\n\\]+", said)
    told = told or re.search(r"nvidia-container-runtime\S* did not [^\n\\]+", said)
    if told:
        return GpuRefused(
            f"The host's NVIDIA driver did not give the container its GPU: {told[0].strip()[:200]}. "
            "An admin finds more with nvidia-smi and `berth doctor`."
        )
    return None


def _first_line(said: str) -> str:
    return said.strip().splitlines()[0][:200]
