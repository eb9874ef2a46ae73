"""The GPU ledger made ready before the hub starts: its schema, and which GPUs there are."""

from ..errors import BerthError
from ..gpus.host import look
from ..gpus.isolation import HostPlaces
from ..gpus.probes import open_probe
from ..ledger import Ledger
from ..operations import inventory
from ..operations.desk import Desk, utc_now
from ..policy.gpus import LOCAL_NODE
from .deployment import Deployment
from .output import Output


def prepare_ledger(deployment: Deployment, output: Output) -> None:
    """Upgrade the ledger and note the GPUs of this host, so that the first spawn form shows them.

    GPUs that cannot be read are told and do not hold the hub up: servers without GPUs start as always.

    Raises
    ------
    LedgerUnavailable, LedgerOutdated
    """
    settings, state = deployment.settings, deployment.state
    ledger = Ledger(state.ledger_url(settings.database_url))
    try:
        ledger.upgrade()
        desk = Desk(ledger, settings.limits.rules(), settings.leases.rules())
        try:
            _note_gpus(deployment, desk, output)
        except BerthError as error:
            output.step(f"GPUs: {error}")
    finally:
        ledger.close()


def _note_gpus(deployment: Deployment, desk: Desk, output: Output) -> None:
    settings = deployment.settings
    probe = open_probe(settings.gpus, demo=settings.sign_in.method == "demo", clock=utc_now)
    try:
        layout, _ = look(probe, settings.gpu_shares, HostPlaces(pipes=settings.mps_pipes, shm=settings.mps_shm))
    finally:
        if probe is not None:
            probe.close()
    inventory.sync(desk, LOCAL_NODE, layout.gpus, layout.slots)
    if probe is None:
        return
    models = ", ".join(sorted({gpu.model for gpu in layout.gpus})) or "none"
    output.step(f"GPUs: {len(layout.gpus)} ({models}), {len(layout.slots)} to lease")
    for note in layout.notes:
        output.detail(note)
