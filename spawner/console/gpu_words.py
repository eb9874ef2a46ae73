"""What GPUs, their states and their readings are called on pages."""

from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256

from ..policy.gpus import GpuState, Isolation, SlotKind
from .board import Standing
from .menu import N_
from .readings import Trouble

STANDINGS = {
    Standing.FREE: N_("free"),
    Standing.PARTLY: N_("partly held"),
    Standing.HELD: N_("held"),
    Standing.EMPTY: N_("nothing to lease"),
    Standing.DRAINING: N_("draining"),
    Standing.OUT_OF_SERVICE: N_("out of service"),
    Standing.QUARANTINED: N_("in quarantine"),
    Standing.UNHEALTHY: N_("unhealthy"),
}
LOOKS = {  # classes of tags
    Standing.FREE: "good",
    Standing.PARTLY: "info",
    Standing.HELD: "info",
    Standing.EMPTY: "",
    Standing.DRAINING: "warn",
    Standing.OUT_OF_SERVICE: "",
    Standing.QUARANTINED: "bad",
    Standing.UNHEALTHY: "bad",
}
# In a cell of the heat map, in place of the GPU's number: colours alone would not tell.
SIGNS = {
    Standing.EMPTY: "–",
    Standing.DRAINING: "↓",
    Standing.OUT_OF_SERVICE: "×",
    Standing.QUARANTINED: "?",
    Standing.UNHEALTHY: "!",
}
STATES = {
    GpuState.IN_SERVICE: N_("in service"),
    GpuState.DRAINING: N_("draining"),
    GpuState.OUT_OF_SERVICE: N_("out of service"),
    GpuState.QUARANTINED: N_("in quarantine"),
}
ACTIONS = {
    GpuState.IN_SERVICE: N_("Put back into service"),
    GpuState.DRAINING: N_("Drain"),
    GpuState.OUT_OF_SERVICE: N_("Take out of service"),
    GpuState.QUARANTINED: N_("Quarantine"),
}
CONSEQUENCES = {
    GpuState.IN_SERVICE: N_("It is leased again from now on, and all of it is out of quarantine."),
    GpuState.DRAINING: N_("It gets no new leases. Those that run go on to their ends."),
    GpuState.OUT_OF_SERVICE: N_(
        "It gets no new leases. Those that run go on to their ends: end them under Leases, if it cannot wait."
    ),
    GpuState.QUARANTINED: N_(
        "It gets no new leases until somebody has looked at it. Those that run go on to their ends."
    ),
}
KINDS = {SlotKind.EXCLUSIVE: N_("whole GPU"), SlotKind.MIG: N_("MIG instance"), SlotKind.SHARED: N_("share")}
ISOLATIONS = {
    Isolation.HARDWARE: N_("by hardware"),
    Isolation.KERNEL: N_("memory bound by the kernel"),
    Isolation.MPS: N_("memory bound by NVIDIA's MPS"),
    Isolation.COOPERATIVE: N_("by agreement, with a watchdog"),
}
_TROUBLES = {
    "starting": N_("The exporter has not been asked yet; readings come within seconds."),
    "away": N_("The exporter at %(where)s does not answer: is it running (berth status)?"),
    "refused": N_("The exporter at %(where)s refuses the token: compare metrics.token there and here."),
    "untrusted": N_("The certificate of the exporter at %(where)s is not trusted: see metrics.exporters."),
    "unreadable": N_("What answers at %(where)s is no exporter of Berth."),
}


def trouble_text(gettext: Callable[[str], str], trouble: Trouble) -> str:
    """Tell in the reader's language why there are no readings."""
    return gettext(_TROUBLES[trouble.kind]) % {"where": trouble.where}


@lru_cache(maxsize=1 << 15)
def anchor(kind: str, name: str) -> str:
    """Give an id for a part of a page, whatever a GPU or a node is called."""
    return f"{kind}-{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
