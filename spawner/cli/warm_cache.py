"""``berth images warm-cache``: compile TensorFlow's kernels once per GPU model, so that users need not wait for it."""

from typing import Any

import click
import docker

from ..engine.daemon import ensure_engine
from ..engine.devices import access_for
from ..engine.warming import warm_cache
from ..errors import CacheNotWarmed
from ..operations import caches, inventory
from ..operations.desk import Desk
from ..operations.inventory import SlotUse
from ..policy.admission import format_bytes
from ..policy.gpus import Gpu, GpuState
from ..policy.names import cuda_volume_name
from .arguments import actor
from .deployment import Deployment, connect
from .output import Output, json_option

_SILENCE = 3600  # seconds that one step may compile without a word
_WHY = "its cache of CUDA kernels is being warmed"


@click.command("warm-cache")
@click.option("--gpu", "names", multiple=True, metavar="NAME", help="Only for the models of these GPUs.")
@json_option
def warm(names: tuple[str, ...], as_json: bool) -> None:
    """Compile TensorFlow's common kernels for each GPU model, on a GPU that nobody holds.

    GPUs newer than Turing compile each kernel at first use, for minutes. What is compiled here is given to every server
    with such a GPU. Run it again after a new driver or a new image. While it works, its GPU gets no new leases.
    """
    output = Output(as_json)
    deployment = Deployment.load()
    desk = deployment.desk()
    ensure_engine(output.step)
    client = connect(timeout=_SILENCE)
    try:
        done = [_warm(deployment, desk, client, choice, output) for choice in _choices(desk, names)]
    finally:
        client.close()
    output.data(done)
    for found in done:
        if found["written"]:
            held = f"{found['files']} files, {format_bytes(found['bytes'])}, {found['new_files']} of them new"
            output.say(f"{found['volume']}: {held}")
        else:
            output.say(f"{found['volume']}: the GPU is simulated, so all was tried and nothing compiled")


def _choices(desk: Desk, names: tuple[str, ...]) -> list[tuple[Gpu, tuple[SlotUse, ...]]]:
    """Choose for each model a GPU that is free, before anything is done."""
    gpus = inventory.board(desk).gpus
    known = {name for gpu, _ in gpus for name in (gpu.name, gpu.uuid)}
    if unknown := [name for name in names if name not in known]:
        raise click.UsageError(f"There is no GPU {', '.join(unknown)}; `berth gpus` lists them.")
    wanted = [entry for entry in gpus if not names or entry[0].name in names or entry[0].uuid in names]
    if not wanted:
        raise CacheNotWarmed("No GPUs are known; `gpus` in the settings says where they come from.")
    chosen = []
    for model in dict.fromkeys(gpu.model for gpu, _ in wanted):
        free = next((entry for entry in wanted if entry[0].model == model and _is_free(*entry)), None)
        if free is None:
            raise CacheNotWarmed(f"No {model} is free and in service; `berth gpus` says who holds them.")
        chosen.append(free)
    return chosen


def _is_free(gpu: Gpu, uses: tuple[SlotUse, ...]) -> bool:
    usable = gpu.state is GpuState.IN_SERVICE and gpu.healthy
    return usable and bool(uses) and not any(use.lease or use.quarantine for use in uses)


def _warm(
    deployment: Deployment,
    desk: Desk,
    client: docker.APIClient,
    choice: tuple[Gpu, tuple[SlotUse, ...]],
    output: Output,
) -> dict[str, Any]:
    gpu, uses = choice
    volume = cuda_volume_name(deployment.state.hub_id, gpu.model)
    output.step(f"{gpu.model}, on {gpu.name}")
    inventory.set_state(desk, gpu.uuid, GpuState.DRAINING, actor(), _WHY)
    try:
        # Whoever was quicker keeps it.
        if any(use.lease for other, now in inventory.board(desk).gpus if other.uuid == gpu.uuid for use in now):
            raise CacheNotWarmed(f"{gpu.name} has just been leased; try again.")
        access = access_for(client, [uses[0].slot], deployment.image)
        found = warm_cache(
            client, deployment.image, volume, deployment.state.hub_id, access, output.detail, simulated=gpu.simulated
        )
    finally:
        inventory.set_state(desk, gpu.uuid, GpuState.IN_SERVICE, actor(), "its cache of CUDA kernels is done")
    if found["written"]:
        caches.note_warmed(desk, volume, actor(), found)
    return {"gpu": gpu.name, "model": gpu.model, "volume": volume, **found}
