"""What `berth doctor` finds about the ledger, and the janitor that keeps it true."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from ..engine.versions import Finding, Level
from ..errors import LedgerOutdated
from ..janitor import schedule
from ..ledger import LoopRecord
from .hub import running_hub
from .preflight import Scene

_LATE = timedelta(minutes=3)


def ledger(scene: Scene) -> Iterable[Finding]:
    """Check the ledger's database and schema, and when each loop of the janitor last succeeded."""
    try:
        desk = scene.deployment.desk()  # a BerthError of this is a finding
    except LedgerOutdated:
        if scene.deployment.state.known_hub_id() is not None:
            raise
        yield Finding("ledger", Level.OK, "none yet; make up makes it", "")
        return
    with desk.ledger.reading() as books:
        loops, gpus = books.loops.all(), books.gpus.all()
        quarantined = books.gpus.quarantined_slots()
    yield Finding("ledger", Level.OK, f"{desk.ledger!r} answers, its schema is this version's", "")
    sick = [f"{gpu.name}: {gpu.problem}" for gpu in gpus if not gpu.healthy]
    if sick:
        yield Finding(
            "ledger", Level.ERROR, f"GPUs that cannot be leased: {'; '.join(sick)}", "See nvidia-smi and dmesg"
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
        known = {loop.name: loop for loop in loops}
        pace = {loop.name: timedelta(seconds=loop.every) for loop in schedule.loops(scene.deployment.settings)}
        yield from _janitor({name: (known.get(name), every) for name, every in pace.items()}, desk.clock())


def _janitor(loops: Mapping[str, tuple[LoopRecord | None, timedelta]], now: datetime) -> Iterator[Finding]:
    never = sorted(name for name, (told, _) in loops.items() if told is None)
    if never:
        what = "it has" if len(never) == len(loops) else f"its loops {', '.join(never)} have"
        yield Finding("janitor", Level.ERROR, f"{what} never run", "The hub starts it; its log says why it does not")
    late = [
        told
        for told, every in loops.values()
        if told is not None and (told.succeeded_at is None or now - told.succeeded_at > max(_LATE, 3 * every))
    ]
    for loop in late:
        when = f"{loop.succeeded_at:%Y-%m-%d %H:%M:%S} UTC" if loop.succeeded_at else "never"
        why = f": {loop.error}" if loop.error else ""
        yield Finding(
            "janitor", Level.ERROR, f"its loop {loop.name} last succeeded {when}{why}", "The hub's log has all of it"
        )
    if not late and not never:
        yield Finding("janitor", Level.OK, f"all {len(loops)} loops succeed", "")
