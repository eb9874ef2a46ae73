"""The board of GPUs, one GPU, and taking them out of service and back."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Path, Query, Request
from markupsafe import Markup
from starlette.responses import Response

from ...operations import inventory
from ...policy.gpus import Gpu, GpuState
from ..board import View
from ..callers import Caller, allowed
from ..context import Console, Here
from ..events import stream
from ..gpu_changes import Plan, carry_out, find, plan_node
from ..gpu_pages import WORDS, BoardPage, Choice, News, actions_for, choice_of, page_numbers
from ..gpu_words import ACTIONS, CONSEQUENCES, ISOLATIONS, STATES, trouble_text
from ..hub import quoted
from ..menu import N_
from ..own_words import LEASE_STATES
from ..plots import Line, Plotter
from ..problems import Problem
from ..readings import KEPT
from ..rendering import go, reader_of
from ..scopes import Scope

router = APIRouter()

Reader = Annotated[Caller, allowed(Scope.READ)]
Operator = Annotated[Caller, allowed(Scope.GPUS)]
Uuid = Annotated[str, Path(max_length=255)]
Chosen = Annotated[Choice, Depends(choice_of)]
State = Annotated[GpuState, Query()]
Typed = Annotated[str, Form(max_length=1000)]

_LONGEST_WHY = 500
_NAMED = 40  # leases that a question names one by one
_DONE = {
    GpuState.IN_SERVICE: N_("Back in service: %(what)s."),
    GpuState.DRAINING: N_("Draining: %(what)s."),
    GpuState.OUT_OF_SERVICE: N_("Out of service: %(what)s."),
    GpuState.QUARANTINED: N_("In quarantine: %(what)s."),
}


@router.get("/gpus")
def show_board(request: Request, here: Here, caller: Reader, choice: Chosen) -> Response:
    page = BoardPage(request, here, caller, choice, here.watch.board.look())
    snapshot = page.snapshot
    return here.pages.render(
        request,
        caller,
        "gpus/index.html",
        **page.values(),
        nodes=list(snapshot.nodes),
        models=snapshot.models,
        numbers=page_numbers(page.page, page.pages),
    )


@router.get("/gpus/live")
def follow_board(
    request: Request,
    here: Here,
    caller: Reader,
    choice: Chosen,
    since: Annotated[str, Query(max_length=40)] = "",
    shown: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """Send what changes on an open page."""
    here.watch.board.latest(here.watch.seconds)  # what is wrong is said at once
    return _stream(request, here, caller, choice, since, shown)


def _stream(request: Request, here: Console, caller: Caller, choice: Choice, since: str, shown: str) -> Response:
    return stream(here.watch, caller.name, News(request, here, caller, choice, since, shown))


# --- one GPU ------------------------------------------------------------------------------------------------------


@router.get("/gpus/change")
def ask_node(
    request: Request, here: Here, caller: Operator, state: State, node: Annotated[str, Query(max_length=255)]
) -> Response:
    """Ask once before the GPUs of a node change."""
    return _ask(request, here, caller, plan_node(here.watch.board.look(), node, state), node)


@router.post("/gpus/change")
def change_node(
    request: Request,
    here: Here,
    caller: Operator,
    state: State,
    node: Annotated[str, Query(max_length=255)],
    why: Typed = "",
    seen: Typed = "",
) -> Response:
    return _change(request, here, caller, plan_node(here.watch.board.look(), node, state), node, why, seen)


@router.get("/gpus/{gpu}")
def show_gpu(gpu: Uuid, request: Request, here: Here, caller: Reader) -> Response:
    view = find(here.watch.board.look(), gpu)
    return here.pages.render(
        request,
        caller,
        "gpus/gpu.html",
        **_of_gpu(request, here, view),
        actions=actions_for(view.gpu.state) if caller.may(Scope.GPUS) else [],
        words_of_actions=ACTIONS,
        entries=inventory.decrees(here.desk, gpu, 10),
    )


@router.get("/gpus/{gpu}/now")
def show_now(gpu: Uuid, request: Request, here: Here, caller: Reader) -> Response:
    """Render what moves on the page of a GPU."""
    view = find(here.watch.board.latest(here.watch.seconds), gpu)
    return here.pages.render(request, caller, "gpus/now.html", **_of_gpu(request, here, view))


def _of_gpu(request: Request, here: Console, view: View) -> dict[str, Any]:
    _, problem = here.pages.gettext(request), here.readings.problem
    return {
        **WORDS,
        "view": view,
        "states": STATES,
        "isolations": ISOLATIONS,
        "lease_states": LEASE_STATES,
        "parts": here.pages.parts(request, "gpus/parts.html", **WORDS),
        "plots": _plots(request, here, view.gpu),
        "problem": trouble_text(_, problem) if problem and view.reading is None else "",
    }


def _plots(request: Request, here: Console, gpu: Gpu) -> list[Markup]:
    """Draw what a GPU did in the last quarter of an hour; nothing if nobody knows."""
    _ = here.pages.gettext(request)
    series = here.readings.series(gpu.uuid)
    if not series:
        return []
    plot, end = Plotter(reader_of(request), _), here.clock()
    start = end - KEPT
    shares = [
        Line(_("SM"), [(one.at, one.sm) for one in series], "one"),
        Line(_("Memory"), [(one.at, one.memory) for one in series], "two"),
    ]
    warmth = [Line(_("Temperature, °C"), [(one.at, one.temperature) for one in series], "three")]
    power = [Line(_("Power, W"), [(one.at, one.power) for one in series], "four")]
    return [
        plot.lines(_("Use"), shares, start, end, "ratio"),
        plot.lines(_("Temperature"), warmth, start, end, "number", top=100),
        plot.lines(_("Power"), power, start, end, "number"),
    ]


# --- changing -----------------------------------------------------------------------------------------------------


@router.get("/gpus/{gpu}/change")
def ask_gpu(gpu: Uuid, request: Request, here: Here, caller: Operator, state: State) -> Response:
    """Ask once before a GPU changes."""
    return _ask(request, here, caller, Plan(state, (find(here.watch.board.look(), gpu),)))


@router.post("/gpus/{gpu}/change")
def change_gpu(
    gpu: Uuid, request: Request, here: Here, caller: Operator, state: State, why: Typed = "", seen: Typed = ""
) -> Response:
    plan = Plan(state, (find(here.watch.board.look(), gpu),))
    return _change(request, here, caller, plan, None, why, seen)


def _change(
    request: Request, here: Console, caller: Caller, plan: Plan, node: str | None, why: str, seen: str
) -> Response:
    _ = here.pages.gettext(request)
    if not why.strip() or len(why.strip()) > _LONGEST_WHY:
        told = _("Give a reason, of at most 500 letters: others will want to know.")
        return _ask(request, here, caller, plan, node, why, told, 422)
    try:
        done = carry_out(here, plan, caller.name, why, frozenset({seen}))
    except Problem as problem:
        if problem.status != 412:
            raise
        plan = _anew(here, plan, node)
        told = _("Somebody has changed this meanwhile. Look at what it would do now, then repeat.")
        return _ask(request, here, caller, plan, node, why, told, 412)
    names = [gpu.name for gpu in done]
    what = ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
    path = f"gpus/{quoted(done[0].uuid)}" if node is None else f"gpus?{choice_of(node=node).query()}"
    return go(request, f"{here.prefix}{path}", _(_DONE[plan.state]) % {"what": what or "–"})


def _anew(here: Console, plan: Plan, node: str | None) -> Plan:
    snapshot = here.watch.board.look()
    if node is not None:
        return plan_node(snapshot, node, plan.state)
    return Plan(plan.state, tuple(find(snapshot, view.gpu.uuid) for view in plan.changed))


def _ask(
    request: Request,
    here: Console,
    caller: Caller,
    plan: Plan,
    node: str | None = None,
    why: str = "",
    trouble: str = "",
    status: int = 200,
) -> Response:
    _ = here.pages.gettext(request)
    what = ", ".join(view.gpu.name for view in plan.changed)
    if node is None:
        back = f"gpus/{quoted(plan.changed[0].gpu.uuid)}"
        path = f"{back}/change?state={plan.state}"
    else:
        path = f"gpus/change?{choice_of(node=node).query(state=plan.state)}"
        back = f"gpus?{choice_of(node=node).query()}"
    return here.pages.render(
        request,
        caller,
        "gpus/change.html",
        status=status,
        title=f"{_(ACTIONS[plan.state])}: {what if node is None else node}",
        question=_(CONSEQUENCES[plan.state]) if plan.changed else "",
        facts=[],
        action=f"{here.prefix}{path}",
        button=_(ACTIONS[plan.state]),
        back=f"{here.prefix}{back}",
        fields={"seen": plan.version},
        reason=why,
        dangerous=plan.state is not GpuState.IN_SERVICE,
        plan=plan,
        node=node,
        trouble=trouble,
        named=_NAMED,
        states=STATES,
    )
