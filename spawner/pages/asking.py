"""Who asks, for which server, and what they hear when it fails."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from jupyterhub.apihandlers import APIHandler
from jupyterhub.scopes import Scope
from tornado.web import HTTPError

from ..errors import BerthError, LedgerOutdated, LedgerUnavailable
from ..policy.model import Deny

T = TypeVar("T")

NO_LEASES = "This hub hands out no GPUs."


class Refusal(HTTPError):
    """An answer that says no: words for people in `message`, a code for programs in `code`."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(status, "%s", message)
        self.message = message
        self.code = code

    @classmethod
    def of(cls, cause: Deny | BerthError) -> "Refusal":
        if isinstance(cause, Deny):
            return cls(403, cause.reason, cause.code)
        away = isinstance(cause, LedgerUnavailable | LedgerOutdated)
        return cls(503 if away else 409, str(cause), cause.code)


class BerthHandler(APIHandler):
    """Base of our part of the hub's API."""

    def say(self, answer: dict[str, Any], status: int = 200) -> None:
        self.set_status(status)
        self.finish(json.dumps(answer))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None))[1]
        if isinstance(error, Refusal):
            self.set_header("Content-Type", "application/json")
            self.finish(json.dumps({"status": status_code, "message": error.message, "reason": error.code}))
        else:
            super().write_error(status_code, **kwargs)

    def body(self) -> dict[str, Any]:
        """Give the body, which must be a JSON object."""
        try:
            found = json.loads(self.request.body or b"")
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Refusal(400, "The body must be a JSON object.", "invalid_body")
        return found

    def spawner_of(self, user_name: str, server_name: str) -> Any:
        """Give the hub's object for a server, running or not."""
        asker = self.current_user
        # Most ask for what is theirs, a class of hundreds all the time; to find a user costs more than all the rest.
        own = getattr(asker, "name", None) == user_name and hasattr(asker, "spawners")  # a service has none
        user = asker if own else self.find_user(user_name)
        if user is None or (server_name and server_name not in user.orm_spawners):
            raise Refusal(404, f"There is no server {user_name}/{server_name}.", "unknown_server")
        return user.get_spawner(server_name)

    def asked_spawner(self, scope: str) -> Any:
        """Tell which server is meant.

        A server that asks with its own token means itself. All others say it by ``?server=NAME`` (left out, the
        default server) and, if it is not their own, ``&user=NAME``, and need `scope` for it.
        """
        if self.current_user is None:
            raise Refusal(403, "Missing or invalid credentials.", "not_signed_in")
        user, server = self.get_query_argument("user", None), self.get_query_argument("server", None)
        own = own_server(self.parsed_scopes, self.current_user.name)
        if own is not None and user in {None, self.current_user.name} and server in {None, own}:
            return self.spawner_of(self.current_user.name, own)
        owner, name = user or self.current_user.name, server or ""
        if not self.has_scope(f"{scope}!server={owner}/{name}"):
            raise Refusal(403, f"This token has no {scope} for the server {owner}/{name}.", "not_allowed")
        return self.spawner_of(owner, name)

    async def operate(self, spawner: Any, function: Callable[..., T], *args: Any) -> T:
        """Run one of `spawner.operations` at a server's desk, in a thread."""
        if spawner.desk is None:
            raise Refusal(404, NO_LEASES, "no_gpus")
        try:
            result: T = await spawner.operate(function, *args)
        except BerthError as error:
            raise Refusal.of(error) from error
        return result


def own_server(parsed_scopes: Any, user_name: str) -> str | None:
    """Give the name of the one server that a token is of; None for a token or cookie of a person.

    A server's token may do nothing with servers but reach its own; a person's reaches all of theirs.
    """
    access = parsed_scopes.get("access:servers")
    if not access or access == Scope.ALL or set(access) != {"server"} or len(access["server"]) != 1:
        return None
    owner, _, name = next(iter(access["server"])).partition("/")
    return name if owner == user_name else None
