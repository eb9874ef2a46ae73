"""All loops, and how often each takes its turn."""

from ..settings import Settings
from . import classes_endings, classes_prepare, classes_rosters, classes_seats, classes_warmup
from .course_collections import collection_steps
from .course_homes import course_home_steps
from .course_materials import materials_steps
from .exam_volumes import leftover_steps
from .homes import archive_steps, home_steps, owner_steps, size_steps, volume_steps
from .loops import Loop
from .tasks import expiry_steps, idle_steps, inventory_steps, offer_steps, reconcile_steps
from .watchdog import watchdog_steps


def loops(settings: Settings) -> tuple[Loop, ...]:
    return (
        Loop("inventory", inventory_steps, 30.0),
        Loop("reconcile", reconcile_steps, settings.leases.reconcile_seconds),
        Loop("offers", offer_steps, 2.0),
        Loop("expiry", expiry_steps, 5.0),
        Loop("idle", idle_steps, 30.0),
        Loop("watchdog", watchdog_steps, 15.0),
        Loop("rosters", classes_rosters.roster_steps, classes_rosters.EVERY),
        Loop("prepare", classes_prepare.prepare_steps, classes_prepare.EVERY, long=True),
        Loop("warmup", classes_warmup.warmup_steps, classes_warmup.EVERY, long=True),
        Loop("seats", classes_seats.seat_steps, classes_seats.EVERY),
        Loop("endings", classes_endings.ending_steps, classes_endings.EVERY),
        Loop("collections", collection_steps, 3.0, long=True),
        Loop("materials", materials_steps, 10.0, long=True),
        Loop("course-homes", course_home_steps, 900.0),
        Loop("leftovers", leftover_steps, 3600.0),
        Loop("homes", home_steps, 5.0, long=True),
        Loop("archives", archive_steps, 5.0, long=True),
        Loop("volumes", volume_steps, 20.0),
        Loop("sizes", size_steps, 60.0, long=True),
        Loop("owners", owner_steps, 900.0),
    )
