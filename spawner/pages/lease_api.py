"""The API of leases: for the container's own server, with its token, and for the hub's pages.

======================= ==== =================================================================================
``lease``               GET  the server's lease, the class in which it is a seat, and what its user should know
``lease/extend``        POST ``{"hours": number or null}``: let it last longer; null for as long as is allowed
``lease/release``       POST ``{"at_end": "cpu" or "stop"}``: give the GPUs back now
``lease/restart``       POST ``{"clean": bool}``, or nothing: stop the server and start it again
``lease/report``        POST what the server says of its kernels and GPUs, and of who has a page of it open
``mine``                GET  all of one's leases, places in the queue, and quota
======================= ==== =================================================================================

All below ``{hub}/api/berth/``. What is refused has ``message`` for people and ``reason`` for programs.
"""

import asyncio
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from jupyterhub.utils import exponential_backoff

from ..operations import class_lab, holdings, leases
from ..operations.mine import give_back
from ..policy.leases import Lease, LeaseState
from ..policy.leasing import describe
from ..policy.model import AtEnd, Deny, Person
from .asking import BerthHandler, Refusal
from .class_api import Presence
from .class_views import class_poll_seconds, class_view, in_class
from .views import lease_view, notice_view, notices_of, place_view, poll_seconds, quota_view

_ENDED = {LeaseState.RELEASING, LeaseState.CLOSED}
_LONGEST_HOURS = 24 * 365
# Within which a kernel's last word counts as one of a kernel at work: a report comes at least that often.
_RECENT = timedelta(seconds=90)


class Extensions:
    """Whether leases could last longer, remembered for a while: to know it, the whole queue is read.

    A button shown for some minutes too long does no harm; who presses it hears why not.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[datetime, datetime, datetime | Deny]] = {}

    async def of(self, handler: BerthHandler, spawner: Any, lease: Lease, now: datetime) -> datetime | Deny:
        if lease.state in _ENDED:
            return Deny("lease_over", "This lease is being ended.")
        known = self._known.get(lease.id)
        if known is not None and known[0] > now and known[1] == lease.ends_at:
            return known[2]
        answer = await handler.operate(spawner, leases.can_extend, lease.id)
        fresh = min(max((lease.ends_at - now) / 10, timedelta(seconds=15)), timedelta(minutes=2))
        self._known = {other: kept for other, kept in self._known.items() if kept[0] > now}
        self._known[lease.id] = now + fresh, lease.ends_at, answer
        return answer


_EXTENSIONS = Extensions()


class LeaseHandler(BerthHandler):
    async def get(self) -> None:
        spawner = self.asked_spawner("read:servers")
        found = await self.operate(spawner, holdings.holding, spawner.user.name, spawner.name)
        asked = partial(class_lab.lesson, ask=spawner.ask_students)
        lesson = await self.operate(spawner, asked, spawner.user.name, spawner.name)
        now = spawner.desk.clock()
        messages = [] if found is None else notices_of(found.lease, spawner.catalogue, spawner.leases, now)
        pace = poll_seconds(found.lease if found else None, spawner.leases, now)
        if lesson is not None:
            pace = min(pace, class_poll_seconds(lesson, now))
            messages = in_class(messages)
        self.say(
            {
                "now": now.isoformat(),
                "lease": None if found is None else await _view(self, spawner, found, now),
                "class": None if lesson is None else class_view(lesson, now),
                "messages": [notice_view(notice) for notice in messages],
                "poll_seconds": pace,
            }
        )


async def _view(handler: BerthHandler, spawner: Any, found: holdings.Holding, now: datetime) -> dict[str, Any]:
    return lease_view(found, await _EXTENSIONS.of(handler, spawner, found.lease, now), now)


def _messages(spawner: Any, lease: Lease, now: datetime) -> list[dict[str, Any]]:
    return [notice_view(notice) for notice in notices_of(lease, spawner.catalogue, spawner.leases, now)]


class _Acting(BerthHandler):
    async def lease_of(self, spawner: Any) -> Lease:
        """Give the lease to act on."""
        found = await self.operate(spawner, holdings.holding, spawner.user.name, spawner.name)
        if found is None or found.lease.state in _ENDED:
            raise Refusal(403, "This server has no GPU lease, or it has just ended.", "no_lease")
        return found.lease


class ExtendHandler(_Acting):
    async def post(self) -> None:
        spawner = self.asked_spawner("servers")
        hours = hours_in(self.body())
        lease = await self.lease_of(spawner)
        longer = await self.operate(spawner, leases.extend, lease.id, hours, self.current_user.name)
        if isinstance(longer, Deny):
            raise Refusal.of(longer)
        left = describe(longer.ends_at - spawner.desk.clock())
        self.say({"ends_at": longer.ends_at.isoformat(), "text": f"Extended. The GPU is yours for {left} from now."})


class ReleaseHandler(_Acting):
    async def post(self) -> None:
        spawner = self.asked_spawner("servers")
        at_end = at_end_in(self.body())
        lease = await self.lease_of(spawner)
        await self.operate(spawner, give_back, lease.id, at_end, self.current_user.name)
        self.say({}, 202)


class RestartHandler(BerthHandler):
    async def post(self) -> None:
        spawner = self.asked_spawner("servers")
        if not spawner.ready:
            raise Refusal(409, "This server does not run, so it cannot be started again.", "not_running")
        options = {name: value for name, value in (spawner.user_options or {}).items() if name != "clean"}
        if clean_in(self.body() if self.request.body else {}):
            options["clean"] = True
        asyncio.ensure_future(self._restart(spawner, options))  # noqa: RUF006  it logs its errors
        self.say({}, 202)

    async def _restart(self, spawner: Any, options: dict[str, Any]) -> None:
        user, name = spawner.user, spawner.name
        try:
            await self.stop_single_user(user, name)
            # A slow stop goes on behind the hub's back.
            await exponential_backoff(lambda: not spawner.pending, "its stop takes too long", timeout=600)
            await self.spawn_single_user(user, name, options=options)
        except Exception:
            # The request is long answered; the user sees the failure on the server's page.
            self.log.exception("Restart of %s/%s failed", user.name, name)


class ReportHandler(BerthHandler):
    async def post(self) -> None:
        spawner = self.asked_spawner("servers")
        body = self.body()
        now = spawner.desk.clock() if spawner.desk else None
        busy, problem = busy_in(body, now), problem_in(body)
        presence = Presence.of(body, busy, now)
        verdict = body.get("selfcheck")
        if verdict is not None and not isinstance(verdict, dict):
            raise Refusal(400, "selfcheck must be an object or null.", "invalid_body")
        found = await self.operate(spawner, holdings.holding, spawner.user.name, spawner.name)
        if found is not None and (busy or problem != found.lease.problem):
            # Else nothing is new, and the ledger need not be written to.
            await self.operate(spawner, lambda desk: leases.report(desk, found.lease.id, busy=busy, problem=problem))
        await presence.note(self, spawner)
        if verdict is not None:
            say_verdict(spawner, verdict)
        self.set_status(204)


def say_verdict(spawner: Any, verdict: dict[str, Any]) -> None:
    """Note a self-check's verdict in the hub's log."""
    problems = verdict.get("problems")
    found = [str(problem)[:500] for problem in problems] if isinstance(problems, list) else []
    name = f"{spawner.user.name}/{spawner.name}"
    if found:
        spawner.log.warning("%s: self-check: %s", name, "; ".join(found[:5]))
    else:
        spawner.log.info("%s: self-check: all is well", name)


class MineHandler(BerthHandler):
    async def get(self) -> None:
        user = self.current_user
        if user is None or not hasattr(user, "spawners") or not self.has_scope(f"read:servers!user={user.name}"):
            raise Refusal(403, "Only people can ask for what is theirs.", "not_allowed")
        spawner = user.get_spawner("")
        person: Person = spawner.person
        held = await self.operate(spawner, holdings.holdings, person)
        now = spawner.desk.clock()
        self.say(
            {
                "now": now.isoformat(),
                "leases": [
                    {
                        "server": found.lease.server,
                        **await _view(self, spawner, found, now),
                        "messages": _messages(spawner, found.lease, now),
                    }
                    for found in held.leases
                ],
                "queue": [{"server": place.ticket.request.server, **place_view(place)} for place in held.places],
                "quota": quota_view(held),
            }
        )


def hours_in(body: dict[str, Any]) -> float | None:
    """Read how much longer a lease is to last."""
    hours = body.get("hours")
    if hours is None:
        return None
    if isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 < hours <= _LONGEST_HOURS:
        raise Refusal(400, f"hours must be null or a number above 0, at most {_LONGEST_HOURS}.", "invalid_body")
    return float(hours)


def clean_in(body: dict[str, Any]) -> bool:
    """Read whether a server is to start without what its user has installed."""
    clean = body.get("clean", False)
    if not isinstance(clean, bool):
        raise Refusal(400, "clean must be true or false.", "invalid_body")
    return clean


def at_end_in(body: dict[str, Any]) -> AtEnd:
    """Read what becomes of the server."""
    try:
        return AtEnd(str(body.get("at_end")))
    except ValueError:
        raise Refusal(400, 'at_end must be "cpu" or "stop".', "invalid_body") from None


def busy_in(body: dict[str, Any], now: datetime | None) -> bool:
    """Tell from a report whether a kernel works, or did a moment ago."""
    count = body.get("busy_kernels", 0)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise Refusal(400, "busy_kernels must be a whole number, 0 or more.", "invalid_body")
    text = body.get("last_kernel_activity")
    if text is None:
        return count > 0
    try:
        last = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise Refusal(400, "last_kernel_activity must be a time in ISO 8601, or null.", "invalid_body") from None
    if last.tzinfo is None:
        raise Refusal(400, "last_kernel_activity must say its time zone.", "invalid_body")
    return count > 0 or (now is not None and now - last < _RECENT)


def problem_in(body: dict[str, Any]) -> str:
    """Read what is wrong with a server's GPUs; empty if nothing is."""
    gpu = body.get("gpu")
    if gpu is None:
        return ""
    if not isinstance(gpu, dict):
        raise Refusal(400, "gpu must be an object or null.", "invalid_body")
    numbers = [gpu.get(name, 0) for name in ("expected", "seen")]
    if any(isinstance(number, bool) or not isinstance(number, int) for number in numbers):
        raise Refusal(400, "gpu.expected and gpu.seen must be whole numbers.", "invalid_body")
    problem = gpu.get("problem") or ""
    if not isinstance(problem, str):
        raise Refusal(400, "gpu.problem must be a text.", "invalid_body")
    expected, seen = numbers
    if not problem and seen < expected:
        problem = f"it sees {seen} of {expected}"
    return problem[:500]


ROUTES: list[tuple[str, type[BerthHandler]]] = [
    (r"/api/berth/lease", LeaseHandler),
    (r"/api/berth/lease/extend", ExtendHandler),
    (r"/api/berth/lease/release", ReleaseHandler),
    (r"/api/berth/lease/restart", RestartHandler),
    (r"/api/berth/lease/report", ReportHandler),
    (r"/api/berth/mine", MineHandler),
]
