"""The GPUs of this host, read from NVIDIA's management library (NVML)."""

import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pynvml

from .islands import find_islands
from .nvml_health import XidLog, explain_failure, read_health
from .nvml_session import NvmlError, NvmlSession, concerns_all, optional
from .readings import Activity, GpuProcess, GpuReading, Health, Inventory, MigInstance, Processes
from .worker import Worker

T = TypeVar("T")

TIMEOUT = 20.0  # seconds; the first call on a host without persistence mode wakes all GPUs, which takes some


class NvmlProbe:
    """Reads NVML in a thread of its own; see `spawner.gpus.readings.Probe`.

    It survives a driver that is loaded anew or updated, and remembers what it knew of a GPU that fails.

    Parameters
    ----------
    timeout
        Seconds that one reading may take.
    """

    simulated = False

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._worker = Worker("The NVIDIA driver", timeout)
        self._session = NvmlSession()
        self._xids = XidLog()
        self._known: dict[str, GpuReading] = {}
        self._islands: dict[str, str] = {}
        self._uuids: dict[int, str] = {}

    def driver_there(self) -> bool:
        """Tell whether this host has a driver that is loaded.

        Raises
        ------
        GpuProbeFailed
            If it hangs.
        """
        return self._worker.call(self._session.driver_there)

    def inventory(self) -> Inventory:
        return self._worker.call(lambda: self._session.run(self._inventory))

    def processes(self) -> Processes:
        return self._worker.call(lambda: self._session.run(self._processes))

    def activity(self) -> tuple[Activity, ...]:
        return self._worker.call(lambda: self._session.run(self._activity))

    def close(self) -> None:
        self._worker.close(self._end)

    def _end(self) -> None:
        self._xids.close()
        self._session.end()

    # --- inventory --------------------------------------------------------------------------------------------

    def _inventory(self) -> Inventory:
        read = self._read_all()
        if any(gpu.health.lost for gpu in read.gpus) or read.unidentified:
            # A GPU that was reset answers only those who come anew.
            self._end()
            read = self._session.run(self._read_all)
        return read

    def _read_all(self) -> Inventory:
        self._xids.collect(self._session.started, self._session.reloads)
        gpus: list[GpuReading] = []
        handles: list[tuple[str, Any]] = []
        unidentified: list[str] = []
        nameless: list[tuple[int, Any]] = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                uuid = _text(pynvml.nvmlDeviceGetUUID(handle))
            except NvmlError as error:
                if concerns_all(error):
                    raise
                nameless.append((index, error))
                continue
            gpus.append(self._read(uuid, index, handle))
            handles.append((uuid, handle))
        answered = {gpu.uuid for gpu in gpus}
        for index, failure in nameless:
            uuid = self._uuids.get(index, "")
            if uuid and uuid not in answered:
                gpus.append(self._failed(uuid, index, failure))
            else:
                unidentified.append(f"GPU {index} of this host: {explain_failure(failure)}")
        gpus = sorted(self._placed(gpus, handles), key=lambda gpu: gpu.index)
        self._known.update({gpu.uuid: gpu for gpu in gpus})
        self._islands.update({gpu.uuid: gpu.island for gpu in gpus})
        self._uuids = {gpu.index: gpu.uuid for gpu in gpus}
        cuda = optional(pynvml.nvmlSystemGetCudaDriverVersion)
        return Inventory(
            tuple(gpus),
            _text(pynvml.nvmlSystemGetDriverVersion()),
            f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else "",
            unidentified=tuple(unidentified),
        )

    def _read(self, uuid: str, index: int, handle: Any) -> GpuReading:
        if uuid in self._known and self._known[uuid].health.lost:
            self._xids.forget(uuid)  # it is back, or will be found lost again
        try:
            mig_mode, mig = _mig(handle)
            capability = optional(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
            pci = optional(pynvml.nvmlDeviceGetPciInfo, handle)
            reading = GpuReading(
                uuid,
                index,
                _text(pynvml.nvmlDeviceGetName(handle)),
                pynvml.nvmlDeviceGetMemoryInfo(handle).total,
                f"{capability[0]}.{capability[1]}" if capability else "",
                "",
                _kernel_bus_id(_text(pci.busId)) if pci else "",
                mig_mode,
                mig,
                read_health(handle, self._xids.last(uuid)),
            )
        except NvmlError as error:
            if concerns_all(error):
                raise
            reading = self._failed(uuid, index, error)
        self._known[uuid] = reading
        return reading

    def _placed(self, gpus: list[GpuReading], handles: list[tuple[str, Any]]) -> Iterator[GpuReading]:
        """Give the GPUs with their islands; those stay as they were while a GPU is lost, which may be a link in one."""
        keep = any(gpu.health.lost for gpu in gpus)
        islands = find_islands(handles)
        for gpu in gpus:
            before = self._islands.get(gpu.uuid, "") if keep else ""
            yield dataclasses.replace(gpu, island=before or islands.get(gpu.uuid, ""))

    def _failed(self, uuid: str, index: int, error: Any) -> GpuReading:
        """Give what was known of a GPU that fails now."""
        lost = error.value == pynvml.NVML_ERROR_GPU_IS_LOST
        known = self._known.get(uuid) or GpuReading(uuid, index, "unknown", 0)
        health = Health(lost, known.health.ecc_uncorrected, self._xids.last(uuid), explain_failure(error))
        return dataclasses.replace(known, index=index, health=health)

    # --- what goes on -----------------------------------------------------------------------------------------

    def _each(self, read: Callable[[Any, str], T]) -> Iterator[tuple[str, T | None]]:
        """Give each GPU's UUID and what `read` makes of its handle; None where that fails."""
        for index in range(pynvml.nvmlDeviceGetCount()):
            uuid = self._uuids.get(index, "")
            try:
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                uuid = _text(pynvml.nvmlDeviceGetUUID(handle))
                result = read(handle, uuid)
            except NvmlError as error:
                if concerns_all(error):
                    raise
                if uuid:
                    yield uuid, None
            else:
                yield uuid, result

    def _processes(self) -> Processes:
        found: list[GpuProcess] = []
        unread: set[str] = set()
        for uuid, processes in self._each(_processes_of):
            if processes is None:
                unread.add(uuid)
            else:
                found += processes
        return Processes(tuple(found), frozenset(unread))

    def _activity(self) -> tuple[Activity, ...]:
        return tuple(
            activity
            for uuid, of_gpu in self._each(_activity_of)
            for activity in ((Activity(uuid, "", None, None),) if of_gpu is None else of_gpu)
        )


def _processes_of(handle: Any, gpu: str) -> list[GpuProcess]:
    return [
        GpuProcess(pid, gpu, mig, memory)
        for mig, part in _parts(handle)
        for pid, memory in sorted(_memory_by_pid(part).items())
    ]


def _activity_of(handle: Any, gpu: str) -> tuple[Activity, ...]:
    return tuple(Activity(gpu, mig, _sm(part), _memory_used(part)) for mig, part in _parts(handle))


def _parts(handle: Any) -> list[tuple[str, Any]]:
    """Give what of a GPU can be used: itself under an empty UUID, or its MIG instances."""
    mode = optional(pynvml.nvmlDeviceGetMigMode, handle)
    if not mode or mode[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
        return [("", handle)]
    return [(_text(pynvml.nvmlDeviceGetUUID(mig)), mig) for mig in _mig_handles(handle)]


def _mig_handles(handle: Any) -> Iterator[Any]:
    for position in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        mig = optional(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, position)
        if mig is not None:
            yield mig


def _mig(handle: Any) -> tuple[bool, tuple[MigInstance, ...]]:
    mode = optional(pynvml.nvmlDeviceGetMigMode, handle)
    if not mode or mode[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
        return False, ()
    return True, tuple(
        MigInstance(_text(pynvml.nvmlDeviceGetUUID(mig)), _profile(mig), pynvml.nvmlDeviceGetMemoryInfo(mig).total)
        for mig in _mig_handles(handle)
    )


def _profile(mig: Any) -> str:
    """Give a MIG instance's profile: the driver writes it behind the model's name, as in ``NVIDIA A100 MIG 1g.5gb``."""
    match = re.search(r"\bMIG (\S+)$", _text(optional(pynvml.nvmlDeviceGetName, mig) or ""))
    if match:
        return match[1]
    attributes = optional(pynvml.nvmlDeviceGetAttributes_v2, mig)
    if attributes is None:
        return "unknown"
    return f"{attributes.gpuInstanceSliceCount}g.{round(attributes.memorySizeMB / 1024)}gb"


def _memory_by_pid(handle: Any) -> dict[int, int | None]:
    """Give the processes with a CUDA context, those behind an MPS server included; each once."""
    running = _running(
        pynvml.nvmlDeviceGetComputeRunningProcesses_v3, pynvml.nvmlDeviceGetComputeRunningProcesses_v2, handle
    )
    behind_mps = optional(
        _running,
        pynvml.nvmlDeviceGetMPSComputeRunningProcesses_v3,
        pynvml.nvmlDeviceGetMPSComputeRunningProcesses_v2,
        handle,
    )
    found: dict[int, int | None] = {}
    for process in [*running, *(behind_mps or ())]:
        told = [memory for memory in (found.get(process.pid), process.usedGpuMemory) if memory is not None]
        found[process.pid] = max(told, default=None)
    return found


def _running(newest: Any, older: Any, handle: Any) -> Any:
    try:
        return newest(handle)
    except pynvml.NVMLError_FunctionNotFound:  # drivers before 510
        return older(handle)


def _sm(handle: Any) -> float | None:
    rates = optional(pynvml.nvmlDeviceGetUtilizationRates, handle)
    return None if rates is None else rates.gpu / 100


def _memory_used(handle: Any) -> int | None:
    # The second version leaves out what the driver keeps for itself.
    memory = optional(pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2)
    if memory is None:
        memory = optional(pynvml.nvmlDeviceGetMemoryInfo, handle)
    return None if memory is None else memory.used


def _kernel_bus_id(bus_id: str) -> str:
    """Write ``00000000:3B:00.0`` as the kernel does, with a domain of four digits and in lower case."""
    domain, _, rest = bus_id.lower().partition(":")
    return f"{domain[-4:]}:{rest}" if rest else ""


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
