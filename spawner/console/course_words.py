"""Words for courses; translated where they are shown."""

from collections.abc import Mapping

from ..policy.classes import HomesAfter, Phase, Role
from ..policy.gpus import SlotKind
from ..policy.model import AtEnd
from .menu import N_

# Words, and how the tag looks.
ROLES: Mapping[Role, tuple[str, str]] = {
    Role.INSTRUCTOR: (N_("Instructor"), "info"),
    Role.ASSISTANT: (N_("Assistant"), "info"),
    Role.STUDENT: (N_("Student"), ""),
}
ROLES_MANY: Mapping[Role, str] = {
    Role.INSTRUCTOR: N_("Instructors"),
    Role.ASSISTANT: N_("Assistants"),
    Role.STUDENT: N_("Students"),
}
VIA: Mapping[str, str] = {
    "roster": N_("roster"),
    "group": N_("group of the hub"),
    "link": N_("join link"),
    "lti": N_("learning platform (LTI)"),
}
PHASES: Mapping[Phase, tuple[str, str]] = {
    Phase.PLANNED: (N_("Planned"), ""),
    Phase.WARMING: (N_("Seats are being started"), "info"),
    Phase.OPEN: (N_("Runs now"), "good"),
    Phase.ENDING: (N_("Ends"), "warn"),
    Phase.OVER: (N_("Over"), ""),
    Phase.CANCELLED: (N_("Cancelled"), "bad"),
}
KINDS: Mapping[SlotKind, tuple[str, str]] = {
    SlotKind.EXCLUSIVE: (N_("Whole GPUs"), N_("Each seat has its own, all of it.")),
    SlotKind.MIG: (N_("Parts of GPUs (MIG)"), N_("Each seat has a part that the hardware keeps apart.")),
    SlotKind.SHARED: (N_("Shared GPUs"), N_("Several seats share one; enough for most lessons, and most seats.")),
}
AT_END: Mapping[AtEnd, str] = {
    AtEnd.STOP: N_("Stop the seats"),
    AtEnd.CPU: N_("Let them go on without GPUs"),
}
HOMES: Mapping[HomesAfter, str] = {
    HomesAfter.KEEP: N_("Keep them as they are"),
    HomesAfter.ARCHIVE: N_("Archive them; they come back when their owner starts a server"),
}
# Names of a course's values, as a page says them.
FIELDS: Mapping[str, str] = {
    "title": N_("Title"),
    "id": N_("Short name"),
    "profile": N_("Profile"),
    "gpus": N_("GPUs per seat"),
    "kinds": N_("Kinds of GPUs"),
    "models": N_("Models"),
    "memory": N_("Least GPU memory"),
    "at_end": N_("When a session ends"),
    "materials": N_("Materials"),
    "branch": N_("Branch"),
    "folder": N_("Folder for the materials"),
    "data": N_("Data set"),
    "collect": N_("Folder to collect"),
    "homes": N_("Homes afterwards"),
    "group": N_("Group of the hub"),
    "most_seats": N_("Seats in one session"),
    "most_gpu_hours": N_("GPU-hours of all its sessions"),
    "most_ahead": N_("Days ahead"),
}
