"""From a spawner's traits and a grant to the container's specification."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import docker

from ..engine import certificates, containers
from ..engine.containers import ContainerSpec, Mount
from ..engine.devices import NO_GPUS, GpuAccess
from ..engine.network import UserNetwork
from ..engine.running import COURSE_VARIABLE
from ..engine.warming import CACHE_BYTES, cache_target
from ..gpus.isolation import Enforcement, HostPlaces, Needs, needs_of
from ..policy.gpus import Gpu, Slot
from ..policy.leases import Lease
from ..policy.model import Grant
from ..policy.names import cuda_volume_name
from . import seats

_CLEAN = "/tmp/berth-clean"  # noqa: S108  in the container, which has one user
_TRANSLATION = "1.41"  # API version that names the keys of HostConfig: Engine 20.10's


def build_spec(
    spawner: Any,
    grant: Grant,
    image: str,
    network: UserNetwork,
    gpu_access: GpuAccess = NO_GPUS,
    arguments: Sequence[str] = (),
) -> ContainerSpec:
    """Say all about the container of a granted start. Writes the bundle of certificates, where there are extra ones.

    In an exam there is nothing of what users share with each other or with their other servers.
    """
    seat = spawner.seat
    exam = seats.in_exam(seat)
    needs = needs_of_lease(spawner.slots, spawner.gpus, HostPlaces(pipes=spawner.mps_pipes, shm=spawner.mps_shm))
    environment = {
        **spawner.get_env(),
        "JUPYTER_IMAGE_SPEC": image,
        **lease_environment(spawner.slots),
        **course_environment(spawner.lease),
        **seats.environment(seat),
        **cache_environment(spawner.hub_id, spawner.slots),
        **needs.environment,
        **clean_environment(clean=spawner.clean),
    }
    mounts = [] if exam else _shared_mounts(spawner)
    mounts += seats.mounts(seat, spawner.data_dir, seats.data_set(spawner, seat))
    mounts += [Mount(mount.source, mount.target, mount.read_only) for mount in needs.mounts]
    mounts += cache_mounts(spawner.hub_id, spawner.slots)
    if spawner.certificates:
        bundle = certificates.write_bundle(spawner.certificates, Path(spawner.data_dir) / "ca-bundle.pem")
        mounts.append(Mount(str(bundle), certificates.TARGET))
        environment = {**dict.fromkeys(certificates.VARIABLES, certificates.TARGET), **environment}
    return ContainerSpec(
        name=spawner.container_name,
        hub_id=spawner.hub_id,
        user=spawner.user.name,
        server=spawner.name,
        image=image,
        port=spawner.port,
        network=network.name,
        home_volume=seats.home_volume(spawner.hub_id, spawner.user.name, seat),
        limits=grant.limits,
        environment=environment,
        command=(*(spawner.cmd or ()), *spawner.get_args(), *arguments),
        mounts=tuple(mounts),
        host_config={**_extra_host_config(spawner), **({"IpcMode": needs.ipc} if needs.ipc else {})},
        lease=spawner.lease_id,
        slots=tuple(slot.id for slot in spawner.slots) if spawner.lease_id else (),
        gpu_access=gpu_access,
        exam=seat.session.id if seat is not None and exam else "",
    )


def _shared_mounts(spawner: Any) -> list[Mount]:
    found = [Mount(mount.source, mount.target, mount.read_only) for mount in spawner.mounts]
    # What a hub's administrator has set the way of any DockerSpawner.
    found += [Mount(source, bind["bind"], bind["mode"] == "ro") for source, bind in spawner.volume_binds.items()]
    if spawner.shared_dir:
        found.append(Mount(str(spawner.shared_dir), containers.SHARED))
    return found


def lease_environment(slots: Sequence[Slot]) -> dict[str, str]:
    """Say to the programs in a container what GPUs its lease gives."""
    if not slots:
        return {}
    # Two shares of one GPU are one device in there.
    environment = {"BERTH_GPU_COUNT": str(len({slot.device for slot in slots}))}
    if any(slot.simulated for slot in slots):
        environment["BERTH_GPU_SIMULATED"] = "1"
    return environment


def course_environment(lease: Lease | None) -> dict[str, str]:
    """Say in whose seats a server is, for the exporter of its node."""
    return {COURSE_VARIABLE: lease.course} if lease is not None and lease.course else {}


def clean_environment(*, clean: bool) -> dict[str, str]:
    """Let a server start as if nothing had been installed into the home, and nothing been open.

    Nothing is moved or deleted: what is meant is looked for elsewhere, in a place that goes with the container.
    """
    if not clean:
        return {}
    return {"PYTHONUSERBASE": f"{_CLEAN}/python", "JUPYTERLAB_WORKSPACES_DIR": f"{_CLEAN}/workspaces"}


def _cache(hub_id: str, slots: Sequence[Slot]) -> str:
    """Name the volume with the compiled kernels of the leased model; empty where nothing is compiled."""
    real = [slot for slot in slots if not slot.simulated]
    return cuda_volume_name(hub_id, real[0].model) if real else ""


def cache_mounts(hub_id: str, slots: Sequence[Slot]) -> list[Mount]:
    """Mount what `berth images warm-cache` has compiled for the model, read-only; empty until it has."""
    volume = _cache(hub_id, slots)
    return [Mount(volume, cache_target(volume), ours=True)] if volume else []


def cache_environment(hub_id: str, slots: Sequence[Slot]) -> dict[str, str]:
    """Point CUDA to that; the image's start makes a copy in the home where it finds it read-only."""
    volume = _cache(hub_id, slots)
    return {"CUDA_CACHE_PATH": cache_target(volume), "CUDA_CACHE_MAXSIZE": str(CACHE_BYTES)} if volume else {}


def needs_of_lease(slots: Sequence[Slot], gpus: Sequence[Gpu], places: HostPlaces) -> Needs:
    """Say what keeps a container within its shares: what its slots promise, whatever the host offers by now."""
    promised = {slot.gpu: slot.isolation for slot in slots}
    known = {gpu.uuid: Enforcement(gpu.uuid, gpu.index, gpu.memory, promised[gpu.uuid], ()) for gpu in gpus}
    return needs_of(slots, known, places)


def _extra_host_config(spawner: Any) -> dict[str, Any]:
    """Translate DockerSpawner's `extra_host_config`, keywords of docker-py, into the engine's keys."""
    extra = spawner._render_templates(spawner._eval_if_callable(spawner.extra_host_config))  # noqa: SLF001  DockerSpawner's own
    translated = dict(docker.types.HostConfig(version=_TRANSLATION, **extra))
    if "network_mode" not in extra:
        # docker-py always says one, and ours must hold.
        translated.pop("NetworkMode", None)
    return translated
