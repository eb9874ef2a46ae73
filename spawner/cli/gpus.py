"""``berth gpus``: what there is to lease, who holds it, and taking a GPU out of service."""

import click

from ..operations import inventory
from ..operations.desk import Desk
from ..operations.inventory import Board, SlotUse
from ..policy.admission import format_bytes
from ..policy.gpus import Gpu, GpuState
from .arguments import actor, bare, why_option
from .deployment import Deployment
from .output import Output, json_option
from .shapes import Names, gpu_data, minute, plural, slot_names

_HEADINGS = ("GPU", "model", "memory", "kind", "isolation", "state", "held by", "until (UTC)")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def gpus(context: click.Context, as_json: bool) -> None:
    """Show all GPUs, who holds them and until when; or take one out of service.

    A GPU that is divided has a line for each part. Running leases go on in whatever state an admin puts their GPU.
    """
    if bare(context):
        output = Output(as_json)
        board = inventory.board(Deployment.load().desk())
        output.data({"gpus": _data(board), "waiting": board.waiting})
        _show(board, output)


def _data(board: Board) -> list[dict[str, object]]:
    names = slot_names(board)
    return [gpu_data(gpu, uses, names) for gpu, uses in board.gpus]


def _show(board: Board, output: Output) -> None:
    if not board.gpus:
        output.say("No GPUs are known; `gpus` in the settings says where they come from, `make up` looks for them.")
        return
    names = slot_names(board)
    output.listing(_HEADINGS, [row for gpu, uses in board.gpus for row in _rows(gpu, uses, names)])
    if any(gpu.simulated for gpu, _ in board.gpus):
        output.say("Simulated GPUs are for trying things out: they compute nothing.")
    if board.waiting:
        output.say(f"{plural(board.waiting, 'server')} wait{'s' if board.waiting == 1 else ''}: `berth queue`.")


def _rows(gpu: Gpu, uses: tuple[SlotUse, ...], names: Names) -> list[tuple[str, ...]]:
    model = f"{gpu.model} (simulated)" if gpu.simulated else gpu.model
    if not uses:
        return [(gpu.name, model, format_bytes(gpu.memory), "nothing to lease", "", _state(gpu), "", "")]
    rows: list[tuple[str, ...]] = []
    for use in uses:
        slot, lease = use.slot, use.lease
        state = f"in quarantine since {minute(use.quarantine.at)}: {use.quarantine.why}" if use.quarantine else ""
        holder = f"{lease.user}{f'/{lease.server}' if lease.server else ''} ({lease.state})" if lease else "free"
        rows.append(
            (
                names[slot.id],
                model,
                format_bytes(slot.memory),
                slot.kind,
                slot.isolation,
                "; ".join(filter(None, [_state(gpu), state])),
                holder if lease or slot.usable else "",
                minute(lease.ends_at) if lease else "",
            )
        )
    return rows


def _state(gpu: Gpu) -> str:
    state = gpu.state.replace("_", " ")
    if gpu.state_since:
        state += f" since {minute(gpu.state_since)} by {gpu.state_by}: {gpu.state_why}"
    return state if gpu.healthy else f"{state}; unhealthy: {gpu.problem}"


def _decree(name: str, state: GpuState, why: str, as_json: bool) -> None:
    output = Output(as_json)
    desk = Deployment.load().desk()
    changed = inventory.set_state(desk, name, state, actor(), why)
    output.say(_told(desk, changed))
    output.data(next(gpu for gpu in _data(inventory.board(desk)) if gpu["uuid"] == changed.uuid))


def _told(desk: Desk, gpu: Gpu) -> str:
    if gpu.state is GpuState.IN_SERVICE:
        problem = "" if gpu.healthy else f" Nothing of it is leased before it is healthy: {gpu.problem}"
        return f"{gpu.name} is in service.{problem}"
    board = inventory.board(desk)
    uses = next(uses for known, uses in board.gpus if known.uuid == gpu.uuid)
    held = {use.lease.id: use.lease for use in uses if use.lease}
    said = f"{gpu.name} is {gpu.state.replace('_', ' ')}: it gets no new leases."
    if not held:
        return f"{said} Nobody holds it."
    last = max(lease.ends_at for lease in held.values())
    users = ", ".join(sorted({lease.user for lease in held.values()}))
    return f"{said} {plural(len(held), 'lease')} of it ({users}) still run, the last until {minute(last)} UTC."


@gpus.command()
@click.argument("name")
@why_option
@json_option
def drain(name: str, why: str, as_json: bool) -> None:
    """Give a GPU no new leases; those that run go on to their ends."""
    _decree(name, GpuState.DRAINING, why, as_json)


@gpus.command()
@click.argument("name")
@why_option
@json_option
def resume(name: str, why: str, as_json: bool) -> None:
    """Put a GPU back into service, and its parts out of quarantine."""
    _decree(name, GpuState.IN_SERVICE, why, as_json)


@gpus.command()
@click.argument("name")
@why_option
@json_option
def quarantine(name: str, why: str, as_json: bool) -> None:
    """Set a GPU apart whose truth is in doubt; new leases go elsewhere."""
    _decree(name, GpuState.QUARANTINED, why, as_json)


@gpus.command()
@click.argument("name")
@why_option
@json_option
def out(name: str, why: str, as_json: bool) -> None:
    """Take a GPU out of service, for repair or for another use; new leases go elsewhere."""
    _decree(name, GpuState.OUT_OF_SERVICE, why, as_json)
