"""REST for the pages of JupyterLab and for the hub, below ``{base_url}berth/``.

=========== ===== ====================================================================================
`lease`     GET   the state as pages are told it
`extend`    POST  ``{"hours": number or null}``: what the hub says of the lease's new end
`release`   POST  ``{"at_end": "cpu" or "stop"}``
`restart`   POST  stops and starts the server, where the hub offers that
`hand`      POST  ``{"raised": bool}``: in a class, asks for help or no more; answers with the place in the order.
                  A visitor may be one who may lower it
`materials` POST  fetches the course's materials again; answers with what became of it
`save`      POST  ``{"seconds": 5, "reason": ""}``: all open pages save; answers with counts
`check`     GET   whether the container reaches its GPUs, found out now
`pages`           the WebSocket of a page
=========== ===== ====================================================================================

A refusal of the hub's is 403 with ``message`` and ``reason``; a hub that does not answer, 503; one without leases, 404.
"""

import json
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado.web import HTTPError, authenticated

from .lease_hub import HubAway, NoLeases, Refused
from .pages import PageSocket
from .visitors import person_of
from .watch import Watch

_SAVE_SECONDS = 5.0
_SAVE_SECONDS_MOST = 30.0


def add_handlers(web_app: Any, watch: Watch) -> None:
    base = web_app.settings["base_url"]
    pages = (Lease, Extend, Release, Restart, Hand, Materials, Save, Check)
    rules = [(f"{base}berth/{page.path}", page, {"watch": watch}) for page in pages]
    web_app.add_handlers(".*$", [*rules, (f"{base}berth/pages", PageSocket, {"pages": watch.pages})])


class _Handler(APIHandler):
    auth_resource = "berth"
    _track_activity = False  # what a page asks by itself is no sign of its owner

    def initialize(self, watch: Watch) -> None:
        self.watch = watch

    def body(self) -> dict[str, Any]:
        try:
            body = json.loads(self.request.body or b"{}")
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise HTTPError(400, "The body must be a JSON object.")
        return body

    def say(self, answer: dict[str, Any], status: int = 200) -> None:
        self.set_status(status)
        self.finish(json.dumps(answer))

    async def ask(self, question: Any) -> Any:
        """Wait for the hub; None once a refusal or a failure has been answered."""
        try:
            return await question
        except Refused as refusal:
            self.say({"message": str(refusal), "reason": refusal.reason}, 403)
        except NoLeases:
            self.say({"message": "This hub does not offer that.", "reason": "not_offered"}, 404)
        except HubAway:
            message = "The hub does not answer at the moment. Try again in a minute."
            self.say({"message": message, "reason": "hub_away"}, 503)
        return None


class Lease(_Handler):
    path = "lease"

    @authenticated
    @authorized
    async def get(self) -> None:
        self.say(self.watch.state())


class Extend(_Handler):
    path = "extend"

    @authenticated
    @authorized
    async def post(self) -> None:
        hours = self.body().get("hours")
        if hours is not None and (isinstance(hours, bool) or not isinstance(hours, (int, float)) or not hours > 0):
            raise HTTPError(400, "hours must be a positive number or null.")
        answer = await self.ask(self.watch.extend(hours))
        if answer is not None:
            self.say(answer)


class Release(_Handler):
    path = "release"

    @authenticated
    @authorized
    async def post(self) -> None:
        at_end = self.body().get("at_end")
        if at_end not in {"cpu", "stop"}:
            raise HTTPError(400, "at_end must be cpu or stop.")
        if await self.ask(self.watch.release(at_end)):
            self.say({}, 202)


class Restart(_Handler):
    path = "restart"

    @authenticated
    @authorized
    async def post(self) -> None:
        if await self.ask(self.watch.restart()):
            self.say({}, 202)


class Hand(_Handler):
    path = "hand"

    @authenticated
    @authorized
    async def post(self) -> None:
        raised = self.body().get("raised")
        if not isinstance(raised, bool):
            raise HTTPError(400, "raised must be true or false.")
        answer = await self.ask(self.watch.hand(raised, person_of(self.current_user)))
        if answer is not None:
            self.say(answer)


class Materials(_Handler):
    path = "materials"

    @authenticated
    @authorized
    async def post(self) -> None:
        self.say(await self.watch.materials.fetch())


class Save(_Handler):
    path = "save"

    @authenticated
    @authorized
    async def post(self) -> None:
        body = self.body()
        try:
            seconds = min(max(float(body.get("seconds", _SAVE_SECONDS)), 0.0), _SAVE_SECONDS_MOST)
        except (TypeError, ValueError):
            raise HTTPError(400, "seconds must be a number.") from None
        self.say(await self.watch.pages.save(seconds, str(body.get("reason") or "")))


class Check(_Handler):
    path = "check"

    @authenticated
    @authorized
    async def get(self) -> None:
        self.say(await self.watch.check_gpu())
