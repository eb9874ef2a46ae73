"""The GPUs of this host, read from NVIDIA's management library (NVML)."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pynvml

from .islands import find_islands
from .nvml_health import XidLog, explain_failure, read_health
from .nvml_pcie import ROUND, PcieSampler
from .nvml_session import NvmlError, NvmlSession, concerns_all, optional, reason_of
from .nvml_telemetry import Kept, Values, read_gpu
from .nvml_values import activity_of, ecc_errors, kernel_bus_id, mig_instance, parts, processes_of, text
from .readings import Activity, GpuProcess, GpuReading, Health, Inventory, Processes
from .telemetry import Absence, GpuTelemetry, Telemetry
from .worker import TIMEOUT, Worker

T = TypeVar("T")

UNKNOWN = "unknown"
_RENEWED = 60.0  # seconds in which telemetry looks once whether a lost GPU was reset, which costs a fresh start


@dataclasses.dataclass(frozen=True, slots=True)
class _Found:
    """A GPU of which is known which it is; `error` instead of a handle if it does not answer."""

    index: int
    uuid: str
    handle: Any
    error: Any = None


class NvmlProbe:
    """Reads NVML in a thread of its own; see `spawner.gpus.readings.Probe`.

    It survives a driver that is loaded anew or updated, and remembers what it knew of a GPU that fails.

    Parameters
    ----------
    timeout
        Seconds that one reading may take.
    pcie_seconds
        In which the background measures each GPU's bus once, as soon as telemetry is read.
    """

    simulated = False

    def __init__(self, timeout: float = TIMEOUT, *, pcie_seconds: float = ROUND) -> None:
        self._worker = Worker("The NVIDIA driver", timeout)
        self._session = NvmlSession()
        self._xids = XidLog()
        self._known: dict[str, GpuReading] = {}
        self._islands: dict[str, str] = {}
        self._uuids: dict[int, str] = {}
        self._pcie = PcieSampler(lambda measure: self._worker.call(lambda: self._session.run(measure)), pcie_seconds)
        self._kept: dict[str, Kept] = {}
        self._kept_since = 0  # the session's start
        self._renewed_at = float("-inf")

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

    def telemetry(self) -> Telemetry:
        return self._worker.call(lambda: self._session.run(self._telemetry))

    def close(self) -> None:
        self._pcie.close()
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
        found, unidentified = self._identify()
        gpus = [self._read(one) for one in found]
        gpus = sorted(self._placed(gpus, found), key=lambda gpu: gpu.index)
        self._known.update({gpu.uuid: gpu for gpu in gpus})
        self._islands.update({gpu.uuid: gpu.island for gpu in gpus})
        driver, cuda = _versions()
        return Inventory(
            tuple(gpus),
            driver,
            cuda,
            unidentified=tuple(f"GPU {index} of this host: {explain_failure(error)}" for index, error in unidentified),
        )

    def _identify(self) -> tuple[list[_Found], list[tuple[int, Any]]]:
        """Give the GPUs, and the errors of those that do not say which they are and were not known before."""
        found: list[_Found] = []
        nameless: list[tuple[int, Any]] = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                found.append(_Found(index, text(pynvml.nvmlDeviceGetUUID(handle)), handle))
            except NvmlError as error:
                if concerns_all(error):
                    raise
                nameless.append((index, error))
        answered = {gpu.uuid for gpu in found}
        unidentified = []
        for index, failure in nameless:
            uuid = self._uuids.get(index, "")
            if uuid and uuid not in answered:
                found.append(_Found(index, uuid, None, failure))
            else:
                unidentified.append((index, failure))
        found.sort(key=lambda gpu: gpu.index)
        self._uuids = {gpu.index: gpu.uuid for gpu in found}
        return found, unidentified

    def _read(self, gpu: _Found) -> GpuReading:
        if gpu.error is not None:
            return self._failed(gpu, gpu.error)
        handle = gpu.handle
        try:
            ecc = optional(ecc_errors, handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED)
            divided = parts(handle)
            mig = tuple(mig_instance(uuid, part) for uuid, part in divided if uuid)
            reading = dataclasses.replace(
                _identity(gpu),
                mig_mode=len(mig) == len(divided),
                mig=mig,
                health=read_health(handle, ecc, self._last_xid(gpu.uuid)),
            )
        except NvmlError as error:
            if concerns_all(error):
                raise
            reading = self._failed(gpu, error)
        self._known[gpu.uuid] = reading
        return reading

    def _last_xid(self, uuid: str) -> int | None:
        if uuid in self._known and self._known[uuid].health.lost:
            self._xids.forget(uuid)  # it is back, or will be found lost again
        return self._xids.last(uuid)

    def _placed(self, gpus: list[GpuReading], found: list[_Found]) -> Iterator[GpuReading]:
        """Give the GPUs with their islands; those stay as they were while a GPU is lost, which may be a link in one."""
        keep = any(gpu.health.lost for gpu in gpus)
        islands = find_islands([(gpu.uuid, gpu.handle) for gpu in found if gpu.error is None])
        for gpu in gpus:
            before = self._islands.get(gpu.uuid, "") if keep else ""
            yield dataclasses.replace(gpu, island=before or islands.get(gpu.uuid, ""))

    def _failed(self, gpu: _Found, error: Any) -> GpuReading:
        """Give what was known of a GPU that fails now."""
        lost = error.value == pynvml.NVML_ERROR_GPU_IS_LOST
        known = self._known.get(gpu.uuid) or _nameless(gpu)
        health = Health(lost, known.health.ecc_uncorrected, self._xids.last(gpu.uuid), explain_failure(error))
        return dataclasses.replace(known, index=gpu.index, health=health)

    # --- what goes on -----------------------------------------------------------------------------------------

    def _each(self, read: Callable[[Any, str], T]) -> Iterator[tuple[str, T | None]]:
        """Give each GPU's UUID and what `read` makes of its handle; None where that fails."""
        for gpu in self._identify()[0]:
            result = None
            if gpu.error is None:
                try:
                    result = read(gpu.handle, gpu.uuid)
                except NvmlError as error:
                    if concerns_all(error):
                        raise
            yield gpu.uuid, result

    def _processes(self) -> Processes:
        found: list[GpuProcess] = []
        unread: set[str] = set()
        for uuid, processes in self._each(lambda handle, uuid: processes_of(parts(handle), uuid)):
            if processes is None:
                unread.add(uuid)
            else:
                found += processes
        return Processes(tuple(found), frozenset(unread))

    def _activity(self) -> tuple[Activity, ...]:
        return tuple(
            activity
            for uuid, of_gpu in self._each(activity_of)
            for activity in ((Activity(uuid, "", None, None),) if of_gpu is None else of_gpu)
        )

    # --- telemetry --------------------------------------------------------------------------------------------

    def _telemetry(self) -> Telemetry:
        read = self._read_telemetry()
        if any(absence.what == "gpu" for absence in read.absences):
            now = time.monotonic()
            if now - self._renewed_at >= _RENEWED:
                self._renewed_at = now
                self._end()
                read = self._session.run(self._read_telemetry)
        self._pcie.watch([one.gpu.uuid for one in read.gpus if one.up])
        return read

    def _read_telemetry(self) -> Telemetry:
        if self._kept_since != self._session.started:
            self._kept.clear()
            self._read_all()  # what they are and how they are linked stays until the driver is loaded anew
            self._kept_since = self._session.started
        self._xids.collect(self._session.started, self._session.reloads)
        found, unidentified = self._identify()
        absences = [Absence("", "gpu", reason_of(error)) for _, error in unidentified]
        gpus = []
        for one in found:
            gpu, missing = self._telemetry_of(one)
            gpus.append(gpu)
            absences += missing
        return Telemetry(tuple(gpus), *_versions(), absences=tuple(absences))

    def _telemetry_of(self, gpu: _Found) -> tuple[GpuTelemetry, list[Absence]]:
        values = Values(gpu.uuid, self._kept.setdefault(gpu.uuid, {}))
        xids = dict(self._xids.counts.get(gpu.uuid, {}))
        try:
            if gpu.error is not None:
                raise gpu.error
            known = self._known.get(gpu.uuid)
            if known is None or known.model == UNKNOWN:
                known = values.read("identity", _identity, gpu) or _nameless(gpu)
            known = dataclasses.replace(known, index=gpu.index, island=self._islands.get(gpu.uuid, ""))
            read = read_gpu(gpu.handle, known, self._last_xid(gpu.uuid), values)
        except NvmlError as error:
            if concerns_all(error):
                raise
            failed = self._known[gpu.uuid] = self._failed(gpu, error)
            return GpuTelemetry(failed, up=False, xids=xids), [Absence(gpu.uuid, "gpu", reason_of(error))]
        self._known[gpu.uuid] = read.gpu
        pcie, reason = self._pcie.last(gpu.uuid)
        if reason is not None:
            values.miss("pcie", reason)
        if gpu.uuid not in self._xids.counts:
            values.miss("xids", "not_supported")
        return dataclasses.replace(read, pcie=pcie, xids=xids), values.absences


def _identity(gpu: _Found) -> GpuReading:
    """Read what stays the same as long as the driver is loaded."""
    capability = optional(pynvml.nvmlDeviceGetCudaComputeCapability, gpu.handle)
    return GpuReading(
        gpu.uuid,
        gpu.index,
        text(pynvml.nvmlDeviceGetName(gpu.handle)),
        pynvml.nvmlDeviceGetMemoryInfo(gpu.handle).total,
        f"{capability[0]}.{capability[1]}" if capability else "",
        pci=kernel_bus_id(gpu.handle),
    )


def _nameless(gpu: _Found) -> GpuReading:
    return GpuReading(gpu.uuid, gpu.index, UNKNOWN, 0)


def _versions() -> tuple[str, str]:
    """Give the driver's version, and the newest CUDA that it can do."""
    cuda = optional(pynvml.nvmlSystemGetCudaDriverVersion)
    return text(pynvml.nvmlSystemGetDriverVersion()), f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else ""
