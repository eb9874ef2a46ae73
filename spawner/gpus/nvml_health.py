"""What NVML says against using a GPU."""

import contextlib
from typing import Any

import pynvml

from .nvml_session import NvmlError, concerns_all, optional
from .readings import Health

# XIDs that tell of a user's program, not of the GPU, as NVIDIA's device plugin for Kubernetes has them (13, 31, 43,
# 45, 68, 109), and those that only inform: a memory row remapped (63), many corrected errors (92), a changed recovery
# action (154), which is read by itself.
_HARMLESS = frozenset({13, 31, 43, 45, 63, 68, 92, 109, 154})
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


def read_health(handle: Any, xid: int | None) -> Health:
    """Read what a GPU that answers says of itself.

    The driver's own verdict counts where it gives one (from 555 on); else errors since it was loaded do.
    """
    ecc = optional(
        pynvml.nvmlDeviceGetTotalEccErrors,
        handle,
        pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
        pynvml.NVML_VOLATILE_ECC,
    )
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
    values = optional(pynvml.nvmlDeviceGetFieldValues, handle, [pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION])
    if values is None or values[0].nvmlReturn != pynvml.NVML_SUCCESS:
        return None
    return int(values[0].value.uiVal)


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
    """The critical errors that the driver reported since we listen."""

    def __init__(self) -> None:
        self._set: Any = None
        self._started = -1
        self._reloads = 0
        self._last: dict[str, int] = {}

    def last(self, uuid: str) -> int | None:
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
        if made is None:
            return
        for index in range(pynvml.nvmlDeviceGetCount()):
            with contextlib.suppress(pynvml.NVMLError_GpuIsLost, pynvml.NVMLError_Unknown):
                handle = optional(pynvml.nvmlDeviceGetHandleByIndex, index)
                if handle is not None:
                    optional(pynvml.nvmlDeviceRegisterEvents, handle, pynvml.nvmlEventTypeXidCriticalError, made)
        self._set = made

    def _note(self, event: Any) -> None:
        if event.eventType != pynvml.nvmlEventTypeXidCriticalError or event.eventData in _HARMLESS:
            return
        try:
            uuid = pynvml.nvmlDeviceGetUUID(event.device)
        except NvmlError as error:
            if concerns_all(error):
                raise
            return  # its own reading tells that it does not answer
        self._last[uuid] = int(event.eventData)
