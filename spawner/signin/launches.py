"""Whoever signs in by a launch is in its course: the hook that the hub calls when it has let somebody in."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from ..errors import BerthError
from ..operations.desk import Desk
from ..operations.launches import arrive
from ..policy.launches import read
from .model import SignIn

# Nobody waits longer for the ledger to get in.
PATIENCE = 10.0

Hook = Callable[[Any, Any, dict[str, Any]], Awaitable[dict[str, Any]]]

_log = logging.getLogger(__name__)


def enrolling(sign_in: SignIn, desk: Callable[[], Desk], *, patience: float = PATIENCE) -> Hook:
    """Make an authenticator's ``post_auth_hook``.

    Without a ledger that answers people are let in all the same, and come into their course by their next launch.

    Parameters
    ----------
    desk
        Gives the desk that the launches come to.
    patience
        In seconds.
    """

    async def hook(authenticator: Any, handler: Any, model: dict[str, Any]) -> dict[str, Any]:
        user, log = model["name"], getattr(authenticator, "log", _log)
        try:
            arrival = await asyncio.wait_for(
                asyncio.to_thread(
                    lambda: arrive(
                        desk(),
                        user,
                        read(model["auth_state"] or {}),
                        sign_in.courses,
                        staff_by_parameter=sign_in.staff_by_parameter,
                    )
                ),
                patience,
            )
        except (BerthError, TimeoutError) as error:
            told = str(error) or f"the ledger did not answer within {patience:g} seconds"
            log.warning("%s signed in by a launch and was put into no course: %s", user, told)
            return model
        if arrival.problem:
            log.warning("%s signed in by a launch and was put into no course: %s", user, arrival.problem)
        elif arrival.entered:
            log.info("%s came into the course %s by a launch", user, arrival.course)
        handler.course = arrival.course
        return model

    return hook
