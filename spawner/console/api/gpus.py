"""GPUs: what there is, who holds it, what it does; taking it out of service and back."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from ...policy.gpus import GpuState
from ..board import Snapshot, Standing, View, Wanted
from ..callers import Caller, allowed
from ..context import Here
from ..events import Event, EventStream, since, stream
from ..gpu_changes import Plan, carry_out, find, plan_gpus, plan_node, version_of
from ..paging import Cursor, Limit, Page, cursor_of, position_in
from ..problems import MEDIA_TYPE, Problem
from ..scopes import Scope
from .gpu_models import (
    ChangesModel,
    GpuModel,
    LeftModel,
    NewState,
    NewStates,
    SeriesModel,
    concerned,
    gpu_model,
    reading_model,
    trouble_model,
)

router = APIRouter(tags=["gpus"])

READ = allowed(Scope.READ)
Reader = Annotated[Caller, READ]
Operator = Annotated[Caller, allowed(Scope.GPUS)]
Uuid = Annotated[str, Path(max_length=255, description="UUID of the GPU.")]

_PROBLEM = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
_ETAG = {"ETag": {"description": "Of what admins have decreed.", "schema": {"type": "string"}}}
_VERSIONED: dict[int | str, dict[str, Any]] = {200: {"headers": _ETAG}}
_WRITING: dict[int | str, dict[str, Any]] = {
    **_VERSIONED,
    412: {"description": "Somebody has changed it meanwhile. Nothing was written.", **_PROBLEM},
    428: {"description": "`If-Match` is missing.", **_PROBLEM},
}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Events, until the client goes.", "content": {"text/event-stream": {}}}
}


def _header(name: str, description: str) -> dict[str, Any]:
    schema = {"in": "header", "required": False, "schema": {"type": "string"}}
    return {"parameters": [{"name": name, "description": description, **schema}]}


_IF_MATCH = _header("If-Match", "The ETag of the GPU, or of the dry run; `*` for whatever it is. A dry run needs none.")
_LAST = _header("Last-Event-ID", "The last event that arrived: only what has changed since is sent.")


def wanted(
    node: Annotated[str, Query(max_length=255, description="Host that it is in.")] = "",
    model: Annotated[str, Query(max_length=255, description="As NVML names it.")] = "",
    state: Annotated[GpuState | None, Query(description="What an admin has decreed.")] = None,
    standing: Annotated[Standing | None, Query(description="Where it stands, in one word.")] = None,
    holder: Annotated[str, Query(max_length=255, description="A user who holds some of it.")] = "",
    free: Annotated[bool | None, Query(description="Whether something of it may be leased now.")] = None,
    search: Annotated[
        str, Query(max_length=200, description="Somewhere in its names, model, holders, reasons, problems.")
    ] = "",
) -> Wanted:
    """Read which GPUs are wanted."""
    return Wanted(node, model, state, standing, holder, search.strip(), free)


Filter = Annotated[Wanted, Depends(wanted)]


@router.get("/gpus", dependencies=[READ])
def list_gpus(here: Here, which: Filter, limit: Limit = 100, cursor: Cursor = None) -> Page[GpuModel]:
    """List GPUs by node and number, with their slots, who holds them, and what they do now."""
    position = position_in(cursor, str, int, str)
    fitting = here.watch.board.look().fitting(which)
    following = [view for view in fitting if position is None or _position(view) > position]
    last = _position(following[limit - 1]) if len(following) > limit else None
    return Page(items=[gpu_model(view) for view in following[:limit]], next=cursor_of(*last) if last else None)


def _position(view: View) -> tuple[str, int, str]:
    return view.gpu.node, view.gpu.index, view.gpu.uuid


@router.get("/gpus/events", responses=_STREAM, response_class=EventStream, openapi_extra=_LAST)
def follow_gpus(request: Request, here: Here, caller: Reader, which: Filter) -> Response:
    """Follow GPUs, as server-sent events: first all of them, then whatever changes.

    `gpu`: a GPU, as `GET /gpus/{gpu}` gives it. `left`: the `uuid` of one that is not, or not any more, among those
    that were asked for. The stream ends after ten minutes; whoever comes again with `Last-Event-ID` misses nothing.
    """
    here.watch.board.latest(here.watch.seconds)  # what is wrong is said at once
    known = since(here.watch, request)
    shown: set[str] = set()

    def news(snapshot: Snapshot) -> list[Event]:
        nonlocal known
        fitting = {view.gpu.uuid: view for view in snapshot.fitting(which)}
        events = [
            Event("gpu", gpu_model(view).model_dump_json())
            for view in fitting.values()
            if known is None or view.changed > known
        ]
        gone = shown - fitting.keys()
        if known is not None and not shown:  # whoever comes again may have known any of them
            changed = {view.gpu.uuid: view.changed for view in snapshot.views} | dict(snapshot.removed)
            gone = {uuid for uuid, number in changed.items() if number > known} - fitting.keys()
        events += [Event("left", LeftModel(uuid=uuid).model_dump_json()) for uuid in sorted(gone)]
        known = snapshot.number
        shown.clear()
        shown.update(fitting)
        return events

    return stream(here.watch, caller.name, news)


@router.get("/gpus/{gpu}", responses=_VERSIONED, dependencies=[READ])
def read_gpu(gpu: Uuid, here: Here, answer: Response) -> GpuModel:
    """Read one GPU."""
    view = find(here.watch.board.look(), gpu)
    answer.headers["ETag"] = version_of([view.gpu])
    return gpu_model(view)


@router.get("/gpus/{gpu}/series", dependencies=[READ])
def read_series(gpu: Uuid, here: Here) -> SeriesModel:
    """Read what a GPU did in the last quarter of an hour."""
    find(here.watch.board.latest(2.0), gpu)
    problem = here.readings.problem
    return SeriesModel(
        uuid=gpu,
        points=[reading_model(one) for one in here.readings.series(gpu)],
        problem=trouble_model(problem) if problem else None,
    )


@router.put("/gpus/{gpu}/state", responses=_WRITING, openapi_extra=_IF_MATCH)
def put_state(gpu: Uuid, new: NewState, request: Request, here: Here, caller: Operator, answer: Response) -> GpuModel:
    """Take a GPU out of service, or put it back.

    Running leases of it go on to their ends. What is back in service is out of quarantine with all its slots.
    """
    view = find(here.watch.board.look(), gpu)
    [changed] = carry_out(here, Plan(new.state, (view,)), caller.name, new.why, _seen(request))
    answer.headers["ETag"] = version_of([changed])
    return gpu_model(find(here.watch.board.look(), gpu))


@router.post("/gpus/state-changes", responses=_WRITING, openapi_extra=_IF_MATCH)
def change_states(new: NewStates, request: Request, here: Here, caller: Operator, answer: Response) -> ChangesModel:
    """Take several GPUs out of service, or put them back: all or none.

    With `node`, only those change for which it makes sense: draining takes those in service, back into service come
    those that drain. A dry run tells what would change and which leases that concerns; its ETag goes into `If-Match` of
    the call that does it.
    """
    if (new.node is None) == (not new.gpus):
        raise Problem(422, "invalid_request", "Say either `node` or `gpus`.")
    snapshot = here.watch.board.look()
    plan = plan_gpus(snapshot, new.gpus, new.state) if new.node is None else plan_node(snapshot, new.node, new.state)
    leases = concerned(plan)
    changed: Sequence[View] = plan.changed
    answer.headers["ETag"] = plan.version
    if not new.dry_run:
        done = carry_out(here, plan, caller.name, new.why, _seen(request))
        after = here.watch.board.look()
        changed = [find(after, gpu.uuid) for gpu in done]
        answer.headers["ETag"] = version_of(done)
    return ChangesModel(
        dry_run=new.dry_run,
        changed=[gpu_model(view) for view in changed],
        left=[gpu_model(view) for view in plan.left],
        leases=leases,
    )


def _seen(request: Request) -> frozenset[str]:
    """Give the versions of ``If-Match``.

    Raises
    ------
    Problem
        428 if there is none.
    """
    said = request.headers.get("If-Match")
    if said is None:
        raise Problem(
            428, "version_needed", "Say in If-Match which version you have seen: the ETag of the GET, or * for any."
        )
    return frozenset(one.strip().removeprefix("W/") for one in said.split(","))
