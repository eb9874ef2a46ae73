"""Values of a GPU, or of a part of one, read from its NVML handle."""

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pynvml

from .nvml_session import NvmlError, optional
from .readings import Activity, GpuProcess, MigInstance

_FIELD_TYPES = {
    pynvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_INT: "siVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_SHORT: "usVal",
}


def newest_of(names: Sequence[str], *arguments: Any) -> Any:
    """Call the first function that this driver has; the older ones come last."""
    *newer, oldest = (getattr(pynvml, name) for name in names)
    for function in newer:
        try:
            return function(*arguments)
        except pynvml.NVMLError_FunctionNotFound:
            continue
    return oldest(*arguments)


def read_fields(handle: Any, fields: Sequence[int | tuple[int, int]]) -> list[Callable[[], float]]:
    """Read several values in one call.

    Parameters
    ----------
    fields
        Numbers of NVML's, with a scope where they have one.

    Returns
    -------
    values
        For each a function that gives it, or raises its own error.
    """
    return [lambda field=field: _field(field) for field in pynvml.nvmlDeviceGetFieldValues(handle, fields)]  # type: ignore[misc]


def _field(field: Any) -> float:
    if field.nvmlReturn != pynvml.NVML_SUCCESS:
        raise NvmlError(field.nvmlReturn)
    value: float = getattr(field.value, _FIELD_TYPES[field.valueType])
    return value


# --- what it is -----------------------------------------------------------------------------------------------------


def in_mig_mode(handle: Any) -> bool:
    mode = optional(pynvml.nvmlDeviceGetMigMode, handle)
    return bool(mode) and mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE


def mig_handles(handle: Any) -> Iterator[tuple[str, Any]]:
    """Give the UUID and the handle of each MIG instance."""
    for position in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        mig = optional(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, position)
        if mig is not None:
            yield text(pynvml.nvmlDeviceGetUUID(mig)), mig


def parts(handle: Any) -> list[tuple[str, Any]]:
    """Give what of a GPU can be used: itself under an empty UUID, or its MIG instances."""
    return list(mig_handles(handle)) if in_mig_mode(handle) else [("", handle)]


def mig_instance(uuid: str, handle: Any) -> MigInstance:
    return MigInstance(uuid, _profile(handle), pynvml.nvmlDeviceGetMemoryInfo(handle).total)


def _profile(mig: Any) -> str:
    """Give a MIG instance's profile: the driver writes it behind the model's name, as in ``NVIDIA A100 MIG 1g.5gb``."""
    match = re.search(r"\bMIG (\S+)$", text(optional(pynvml.nvmlDeviceGetName, mig) or ""))
    if match:
        return match[1]
    attributes = optional(pynvml.nvmlDeviceGetAttributes_v2, mig)
    if attributes is None:
        return "unknown"
    return f"{attributes.gpuInstanceSliceCount}g.{round(attributes.memorySizeMB / 1024)}gb"


def kernel_bus_id(handle: Any) -> str:
    """Give ``00000000:3B:00.0`` as the kernel writes it, with a domain of four digits and in lower case."""
    pci = optional(pynvml.nvmlDeviceGetPciInfo, handle)
    domain, _, rest = text(pci.busId if pci else "").lower().partition(":")
    return f"{domain[-4:]}:{rest}" if rest else ""


def ecc_errors(handle: Any, kind: int) -> int:
    """Count memory errors since the driver was loaded; `kind` is one of NVML_MEMORY_ERROR_TYPE_*."""
    return int(pynvml.nvmlDeviceGetTotalEccErrors(handle, kind, pynvml.NVML_VOLATILE_ECC))


# --- what goes on ---------------------------------------------------------------------------------------------------


def memory_of(handle: Any) -> Any:
    """Read ``total``, ``used`` and ``free`` in bytes."""
    # The second version leaves out of what is used what the driver keeps for itself.
    memory = optional(pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2)
    return pynvml.nvmlDeviceGetMemoryInfo(handle) if memory is None else memory


def activity_of(handle: Any, gpu: str) -> tuple[Activity, ...]:
    found = []
    for mig, part in parts(handle):
        rates = optional(pynvml.nvmlDeviceGetUtilizationRates, part)
        memory = optional(memory_of, part)
        found.append(
            Activity(
                gpu, mig, None if rates is None else ratio(rates.gpu), None if memory is None else int(memory.used)
            )
        )
    return tuple(found)


def processes_of(divided: Sequence[tuple[str, Any]], gpu: str) -> list[GpuProcess]:
    """Give the processes on a GPU's `parts`."""
    return [
        GpuProcess(pid, gpu, mig, memory)
        for mig, part in divided
        for pid, memory in sorted(_memory_by_pid(part).items())
    ]


def _memory_by_pid(handle: Any) -> dict[int, int | None]:
    """Give the processes with a CUDA context, those behind an MPS server included; each once."""
    running = newest_of(
        ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"),  # before 510
        handle,
    )
    behind_mps = optional(
        newest_of, ("nvmlDeviceGetMPSComputeRunningProcesses_v3", "nvmlDeviceGetMPSComputeRunningProcesses_v2"), handle
    )
    found: dict[int, int | None] = {}
    for process in [*running, *(behind_mps or ())]:
        told = [memory for memory in (found.get(process.pid), process.usedGpuMemory) if memory is not None]
        found[process.pid] = max(told, default=None)
    return found


def sm_by_pid(handle: Any, since: int) -> dict[int, float]:
    """Give the share of time in which kernels of each process ran, 0 to 1, of those of which any did.

    Parameters
    ----------
    since
        Microseconds since 1970: samples before do not count, and of several that of the last moments does.
    """
    try:
        samples = pynvml.nvmlDeviceGetProcessUtilization(handle, since)
    except NvmlError as error:
        if error.value not in {pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_SUCCESS}:
            raise
        return {}  # the driver can tell, and no kernel ran
    # To look at a value of theirs takes long.
    told = [(sample.timeStamp, sample.pid, sample.smUtil) for sample in samples]
    told.sort(key=operator.itemgetter(0))
    # Some drivers fill their buffer with what was in it before.
    return {pid: ratio(percent) for moment, pid, percent in told if percent <= 100 and moment > since}


def ratio(percent: float) -> float:
    return min(percent, 100) / 100


def text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
