"""The janitor's context, built once from a deployment's settings."""

from datetime import datetime

import docker
from docker.utils import kwargs_from_env

from ..engine.client import engine_errors
from ..gpus.probes import open_probe
from ..ledger import Ledger
from ..operations.desk import Desk, utc_now
from ..operations.repairs import open_leases
from ..policy.gpus import LOCAL_NODE
from ..settings import Settings
from ..state import StateDirectory
from .hub import Hub
from .post import Post


def make_post(settings: Settings, hub: Hub | None, hub_began: datetime | None) -> Post:
    """Build the janitor's context from a deployment's settings.

    Raises
    ------
    LedgerOutdated
        If the ledger has another schema; says which command cures it.
    EngineUnavailable
    """
    state = StateDirectory(settings.state_dir)
    ledger = Ledger(state.ledger_url(settings.database_url))
    ledger.require_schema()
    with engine_errors():
        engine = docker.APIClient(version="auto", timeout=60, **kwargs_from_env())
    desk = Desk(ledger, settings.limits.rules(), settings.leases.rules())

    def holders() -> dict[str, tuple[int, ...]]:
        return {slot: () for lease in open_leases(desk) for slot in lease.slots}

    return Post(
        desk,
        engine,
        state.hub_id,
        settings,
        open_probe(
            settings.gpus, demo=settings.sign_in.method == "demo", node=LOCAL_NODE, clock=utc_now, holders=holders
        ),
        hub,
        hub_began,
    )
