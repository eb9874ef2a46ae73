"""Words for homes; translated where they are shown."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..ledger import HomeSort
from ..policy.homes import HomeState
from .menu import N_

# Words, and how the tag looks.
HOME_STATES: Mapping[HomeState, tuple[str, str]] = {
    HomeState.PRESENT: (N_("There"), "good"),
    HomeState.ARCHIVING: (N_("Being archived"), "info"),
    HomeState.ARCHIVED: (N_("Archived"), ""),
    HomeState.RESTORING: (N_("Being restored"), "info"),
    HomeState.DELETING: (N_("To be deleted"), "bad"),
    HomeState.DELETED: (N_("Deleted"), ""),
}

SORTS: Mapping[HomeSort, str] = {
    HomeSort.OWNER: N_("Owner"),
    HomeSort.SIZE: N_("Size"),
    HomeSort.LAST_USED: N_("Last use"),
}

UNUSED_DAYS = (30, 90, 180, 365)


@dataclass(frozen=True, slots=True)
class Deed:
    """What an admin can wish for a home.

    Attributes
    ----------
    button, title
        In a list, and as a heading.
    question
        With ``%(owner)s``.
    done
        What is said once it is wished, with ``%(owner)s``.
    """

    button: str
    title: str
    question: str
    done: str
    dangerous: bool = False


DEEDS: Mapping[str, Deed] = {
    "archive": Deed(
        N_("Archive"),
        N_("Archive a home"),
        N_("The files of %(owner)s are packed into an archive, which is checked; then the volume is removed."),
        N_("The home of %(owner)s is being archived; the janitor begins within seconds."),
    ),
    "restore": Deed(
        N_("Restore"),
        N_("Restore a home"),
        N_("The files of %(owner)s are brought back from the archive, as they were."),
        N_("The home of %(owner)s is being restored; the janitor begins within seconds."),
    ),
    "delete": Deed(
        N_("Delete"),
        N_("Delete a home"),
        N_("All files of %(owner)s are removed for good once the grace period is over. Nothing brings them back then."),
        N_("The home of %(owner)s is to be deleted; until then you can take that back."),
        dangerous=True,
    ),
    "cancel": Deed(
        N_("Take back"),
        N_("Take back what is wished for a home"),
        N_("The home of %(owner)s stays as it is."),
        N_("The home of %(owner)s stays as it is."),
    ),
}
