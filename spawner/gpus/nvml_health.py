"""What NVML says against using a GPU."""

import contextlib
import ctypes
from typing import Any

import pynvml

from .nvml_session import NvmlError, concerns_all, optional
from .nvml_values import read_fields, text
from .readings import HARMLESS_XIDS, Health

_MOST_EVENTS = 1000  # at one reading; a GPU that reports without end must not hold us up

# nvmlDeviceGpuRecoveryAction_t: what the driver itself wants done.
_RECOVERY = {
    pynvml.NVML_GPU_RECOVERY_ACTION_GPU_RESET: "The driver wants it reset (nvidia-smi --gpu-reset).",
    pynvml.NVML_GPU_RECOVERY_ACTION_NODE_REBOOT: "The driver wants the host rebooted.",
    pynvml.NVML_GPU_RECOVERY_ACTION_DRAIN_P2P: "Its NVLink has failed: end what uses several GPUs, and reset it.",
    pynvml.NVML_GPU_RECOVERY_ACTION_DRAIN_AND_RESET: "The driver wants it reset as soon as nothing runs on it "
    "(nvidia-smi --gpu-reset).",
    pynvml.NVML_GPU_RECOVERY_ACTION_RECOVER_IMEX_DOMAIN: "Its NVLink domain has failed (IMEX) and must be recovered.",
    pynvml.NVML_GPU_RECOVERY_ACTION_BUS_RESET: "The driver wants its bus reset.",
    pynvml.NVML_GPU_RECOVERY_ACTION_SYSTEM_REBOOT: "The driver wants the host rebooted.",
}


def read_health(handle: Any, ecc: int | None, xid: int | None) -> Health:
    """Read what a GPU that answers says of itself.

    The driver's own verdict counts where it gives one (from 555 on); else errors since it was loaded do.

    Parameters
    ----------
    ecc
        Memory errors that could not be corrected; None where they are not counted.
    xid
        The last critical error.
    """
    return Health(False, ecc, xid, _problem(handle, ecc, xid))


def _problem(handle: Any, ecc: int | None, xid: int | None) -> str:
    rows = optional(pynvml.nvmlDeviceGetRemappedRows, handle)
    if rows and rows[3]:
        return "Its memory is worn out: a bad row could not be replaced. Have the GPU exchanged."
    action = _recovery_action(handle)
    if action is not None:
        if action == pynvml.NVML_GPU_RECOVERY_ACTION_NONE:
            return ""
        return _RECOVERY.get(action, f"The driver wants recovery action {action}.")
    if ecc:
        errors = "1 memory error" if ecc == 1 else f"{ecc} memory errors"
        return f"{errors} could not be corrected since the driver was loaded. Reset it (nvidia-smi --gpu-reset)."
    if xid is not None:
        return f"The driver reported critical error XID {xid}; NVIDIA's list says what it is. Reset it, or reboot."
    return ""


def _recovery_action(handle: Any) -> int | None:
    values = optional(read_fields, handle, [pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION])
    try:
        return None if values is None else int(values[0]())
    except NvmlError:
        return None


def explain_failure(error: Any) -> str:
    """Say what is wrong with a GPU that answers with this error."""
    if error.value == pynvml.NVML_ERROR_GPU_IS_LOST:
        return (
            "It has fallen off the bus: the driver cannot reach it any more. Reboot; if it comes again, check its seat."
        )
    if error.value == pynvml.NVML_ERROR_RESET_REQUIRED:
        return "It must be reset before it can be used again (nvidia-smi --gpu-reset)."
    return f"The driver cannot read it: {error}."


class XidLog:
    """The errors that the driver reported since we listen.

    Attributes
    ----------
    counts
        By UUID and XID number, those of users' programs included; what was counted stays. A GPU that cannot be
        listened to has none.
    """

    def __init__(self) -> None:
        self.counts: dict[str, dict[int, int]] = {}
        self._uuids: dict[int | None, str] = {}  # by the handle's address, since a lost GPU cannot name itself
        self._set: Any = None
        self._started = -1
        self._reloads = 0
        self._last: dict[str, int] = {}

    def last(self, uuid: str) -> int | None:
        """Give the last one that is critical and was not followed by a reload of the driver."""
        return self._last.get(uuid)

    def forget(self, uuid: str) -> None:
        self._last.pop(uuid, None)

    def collect(self, started: int, reloads: int) -> None:
        """Take in what was reported.

        Parameters
        ----------
        started, reloads
            The session's counts: what was registered before a start is gone, and errors before a reload are past.
        """
        if reloads != self._reloads:
            self._last.clear()
            self._reloads = reloads
        if started != self._started:
            self._set = None
            self._listen()
            self._started = started
        if self._set is None:
            return
        for _ in range(_MOST_EVENTS):
            try:
                event = pynvml.nvmlEventSetWait_v2(self._set, 0)
            except NvmlError as error:
                if concerns_all(error):
                    raise
                return  # nothing more, or a GPU was lost, which its own reading tells
            self._note(event)

    def close(self) -> None:
        """Listen no more; `collect` begins anew."""
        if self._set is not None:
            with contextlib.suppress(NvmlError):
                pynvml.nvmlEventSetFree(self._set)
        self._set = None
        self._started = -1

    def _listen(self) -> None:
        # Not everywhere: virtual GPUs and containers have no events.
        made = optional(pynvml.nvmlEventSetCreate)
        self._uuids.clear()
        if made is None:
            return
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, made)
                uuid = text(pynvml.nvmlDeviceGetUUID(handle))
            except NvmlError as error:
                if concerns_all(error):
                    raise
                continue
            self._uuids[_address(handle)] = uuid
            self.counts.setdefault(uuid, {})
        self._set = made

    def _note(self, event: Any) -> None:
        uuid = self._uuids.get(_address(event.device))
        if event.eventType != pynvml.nvmlEventTypeXidCriticalError or uuid is None:
            return
        xid = int(event.eventData)
        self.counts[uuid][xid] = self.counts[uuid].get(xid, 0) + 1
        if xid not in HARMLESS_XIDS:
            self._last[uuid] = xid


def _address(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value
