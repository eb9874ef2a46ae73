"""Words for a class's board; translated where they are shown."""

from collections.abc import Mapping
from enum import StrEnum

from ..policy.classes import Phase, Role, SeatState, Wish
from ..policy.handouts import Kind
from .class_live import Sort
from .menu import N_

# Words, how the tag looks, and a sign for where there is little room: told apart without colours.
STATES: Mapping[SeatState, tuple[str, str, str]] = {
    SeatState.STUCK: (N_("stuck"), "bad", "!"),
    SeatState.NOT_STARTED: (N_("not started"), "", "·"),
    SeatState.STARTING: (N_("starting"), "info", "…"),
    SeatState.READY: (N_("ready"), "info", "○"),
    SeatState.WORKING: (N_("working"), "good", "●"),
    SeatState.IDLE: (N_("idle"), "warn", "◐"),
    SeatState.GIVEN_BACK: (N_("given back"), "", "↩"),
    SeatState.ENDED: (N_("ended"), "", "–"),
}
PHASES: Mapping[Phase, tuple[str, str]] = {
    Phase.PLANNED: (N_("planned"), ""),
    Phase.WARMING: (N_("warming up"), "info"),
    Phase.OPEN: (N_("open"), "good"),
    Phase.ENDING: (N_("ending"), "warn"),
    Phase.OVER: (N_("over"), ""),
    Phase.CANCELLED: (N_("called off"), "bad"),
}
WISHES: Mapping[Wish, str] = {
    Wish.START: N_("to be started"),
    Wish.RESTART: N_("to be restarted"),
    Wish.STOP: N_("to be stopped"),
}
SORTS: Mapping[Sort, str] = {
    Sort.NAME: N_("by name"),
    Sort.STATE: N_("who needs help first"),
    Sort.ACTIVITY: N_("last active first"),
    Sort.USE: N_("by GPU use"),
}
ROLES: Mapping[Role, str] = {
    Role.INSTRUCTOR: N_("instructor"),
    Role.ASSISTANT: N_("assistant"),
    Role.STUDENT: N_("student"),
}
KINDS: Mapping[Kind, str] = {
    Kind.BROADCAST: N_("to all"),
    Kind.PERSONAL: N_("to one"),
    Kind.VISIT: N_("visit"),
    Kind.NOTICE: N_("notice"),
}


class Action(StrEnum):
    """What is done with seats, one or several."""

    START = "start"
    RESTART = "restart"
    STOP = "stop"
    TIME = "time"
    MEMORY = "memory"
    LOWER_HAND = "lower-hand"
    TAKE_BACK = "take-back"


# The verb, what it does, and what has been done.
ACTIONS: Mapping[Action, tuple[str, str, str]] = {
    Action.START: (
        N_("Start"),
        N_("Their servers are started, as far as there are seats."),
        N_("To be started: %(who)s."),
    ),
    Action.RESTART: (
        N_("Restart"),
        N_("Their servers are stopped and started again. Running kernels end; what is saved stays."),
        N_("To be restarted: %(who)s."),
    ),
    Action.STOP: (
        N_("Stop"),
        N_("Their servers are stopped. Running kernels end; what is saved stays."),
        N_("To be stopped: %(who)s."),
    ),
    Action.TIME: (
        N_("Give more time"),
        N_("Their servers go on after the session's end, until somebody else has reserved the GPUs."),
        N_("More time for: %(who)s."),
    ),
    Action.MEMORY: (
        N_("Give more memory"),
        N_("Their servers have this much memory from their next start on. Restart them for it to hold at once."),
        N_("More memory for: %(who)s."),
    ),
    Action.LOWER_HAND: (N_("Lower the hand"), N_("They no longer ask for help."), N_("Hands lowered: %(who)s.")),
    Action.TAKE_BACK: (
        N_("Take the guest's seat back"),
        N_("Their servers are stopped, and their seats are anybody's."),
        N_("Taken back: %(who)s."),
    ),
}
DANGEROUS = frozenset({Action.RESTART, Action.STOP, Action.TAKE_BACK})
