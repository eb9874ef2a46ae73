"""Our part of the hub's API: `HANDLERS`, for ``c.JupyterHub.extra_handlers``.

``{hub}/api/berth/queue/{user}/{server}``, where the name of the default server is empty: GET tells a server's place in
the queue, DELETE leaves it. The rest is in `spawner.pages.lease_api` and `spawner.pages.class_api`.
"""

from jupyterhub.scopes import needs_scope

from ..operations import offers
from . import class_api, lease_api
from .asking import BerthHandler
from .views import place_view


class QueueHandler(BerthHandler):
    @needs_scope("read:servers")
    async def get(self, user_name: str, server_name: str = "") -> None:
        spawner = self.spawner_of(user_name, server_name)
        place = await self.operate(spawner, offers.look_up, user_name, server_name)
        if place is None:
            self._not_waiting()
        else:
            self.say(place_view(place))

    @needs_scope("delete:servers")
    async def delete(self, user_name: str, server_name: str = "") -> None:
        spawner = self.spawner_of(user_name, server_name)
        if await self.operate(spawner, offers.cancel, user_name, server_name):
            self.set_status(204)
        else:
            self._not_waiting()

    def _not_waiting(self) -> None:
        self.say({"status": 404, "message": "This server does not wait in the queue.", "reason": "not_waiting"}, 404)


HANDLERS: list[tuple[str, type[BerthHandler]]] = [
    (r"/api/berth/queue/([^/]+)", QueueHandler),
    (r"/api/berth/queue/([^/]+)/([^/]*)", QueueHandler),
    *lease_api.ROUTES,
    *class_api.ROUTES,
]
