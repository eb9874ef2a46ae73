"""What `berth doctor` finds about the ledger, and the janitor that keeps it true."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from ..engine.versions import Finding, Level
from ..ledger import LoopRecord
from .hub import running_hub
from .preflight import Scene

_LATE = timedelta(minutes=3)  # six turns of the slowest loop


def ledger(scene: Scene) -> Iterable[Finding]:
    """Check the ledger's database and schema, and when each loop of the janitor last succeeded."""
    desk = scene.deployment.desk()  # a BerthError of this is a finding
    with desk.ledger.reading() as books:
        loops, gpus = books.loops.all(), books.gpus.all()
        quarantined = books.gpus.quarantined_slots()
    yield Finding("ledger", Level.OK, f"{desk.ledger!r} answers, its schema is this version's", "")
    sick = [f"{gpu.name}: {gpu.problem}" for gpu in gpus if not gpu.healthy]
    if sick:
        yield Finding(
            "ledger", Level.ERROR, f"GPUs that cannot be leased: {'; '.join(sick)}", "See nvidia-smi and dmesg."
        )
    if quarantined:
        names = "; ".join(f"{slot.slot} ({slot.why})" for slot in quarantined.values())
        yield Finding(
            "ledger",
            Level.WARNING,
            f"slots in quarantine: {names}",
            "When you have looked after them: berth gpus resume NAME --why TEXT",
        )
    if running_hub(scene.deployment.state):
        yield from _janitor(loops, desk.clock())


def _janitor(loops: list[LoopRecord], now: datetime) -> Iterator[Finding]:
    if not loops:
        yield Finding("janitor", Level.ERROR, "it has never run", "The hub starts it; its log says why it does not.")
        return
    late = [loop for loop in loops if loop.succeeded_at is None or now - loop.succeeded_at > _LATE]
    for loop in late:
        when = f"{loop.succeeded_at:%Y-%m-%d %H:%M:%S} UTC" if loop.succeeded_at else "never"
        why = f": {loop.error}" if loop.error else ""
        yield Finding(
            "janitor", Level.ERROR, f"its loop {loop.name} last succeeded {when}{why}", "The hub's log has all of it."
        )
    if not late:
        yield Finding("janitor", Level.OK, f"all {len(loops)} loops succeed", "")
