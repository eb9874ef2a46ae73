"""The driver's library, initialised, and initialised anew when the driver was.

Not thread-safe: one thread at a time.
"""

import _ctypes
import contextlib
from collections.abc import Callable
from ctypes import CDLL
from typing import Any, TypeVar

import pynvml

from ..errors import GpuProbeFailed
from .telemetry import Reason

T = TypeVar("T")
NvmlError: Any = pynvml.NVMLError

# These say something about the library as a whole: no GPU of the host can be read.
_WHOLE = frozenset(
    {
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    }
)
_GONE = frozenset({pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED, pynvml.NVML_ERROR_GPU_NOT_FOUND})
_NO_DRIVER = frozenset({pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.NVML_ERROR_LIBRARY_NOT_FOUND})

# This GPU or this driver does not have that value.
_ABSENT = frozenset(
    {
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_NOT_FOUND,
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_INVALID_ARGUMENT,
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
        pynvml.NVML_ERROR_NO_DATA,
        pynvml.NVML_ERROR_DEPRECATED,
    }
)

_EXPLAINED = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "This host has no NVIDIA driver (libnvidia-ml.so.1 is missing). "
    "Install it, or set `gpus` to none, or to sim:4 for simulated ones.",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "The NVIDIA driver is installed but not loaded. "
    "Load it (modprobe nvidia) or reboot; the kernel's log (dmesg) says why it failed.",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "The NVIDIA driver was updated, and its library does not fit what "
    "the kernel has loaded. Reboot, or unload its kernel modules and load them anew.",
    pynvml.NVML_ERROR_NO_PERMISSION: "The NVIDIA driver refuses: run this as a user who may open /dev/nvidia*.",
}


def concerns_all(error: Exception) -> bool:
    return getattr(error, "value", None) in _WHOLE


def concerns_gpu(error: Exception) -> bool:
    """Tell whether nothing of this GPU can be read, rather than this value."""
    return getattr(error, "value", None) in _GONE


def absent(error: Exception) -> bool:
    return getattr(error, "value", None) in _ABSENT


def reason_of(error: Any) -> Reason:
    """Say in a word why something cannot be read."""
    match error.value:
        case pynvml.NVML_ERROR_NO_PERMISSION:
            return "denied"
        case pynvml.NVML_ERROR_GPU_IS_LOST | pynvml.NVML_ERROR_GPU_NOT_FOUND:
            return "lost"
        case pynvml.NVML_ERROR_TIMEOUT:
            return "timeout"
        case _ if concerns_all(error):
            return "unavailable"
        case _:
            return "not_supported" if absent(error) else "failed"


def optional(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call NVML for something that not every GPU and driver has; None where it is not there."""
    try:
        return function(*arguments)
    except NvmlError as error:
        if absent(error):
            return None
        raise


class NvmlSession:
    """The library's state in this process."""

    def __init__(self) -> None:
        self._open = False
        self._library: Any = None
        self.started = 0  # counts the times it was initialised,
        self.reloads = 0  # and those at which the driver was found to be another

    def driver_there(self) -> bool:
        """Tell whether there is a driver, in whatever state."""
        try:
            self._begin()
        except NvmlError as error:
            return error.value not in _NO_DRIVER
        return True

    def run(self, function: Callable[[], T]) -> T:
        """Run `function` with the library initialised; once more after a fresh start if the driver was loaded anew.

        Raises
        ------
        GpuProbeFailed
            If the library as a whole cannot be used.
        """
        try:
            self._begin()
            return function()
        except NvmlError as error:
            if not concerns_all(error):
                raise GpuProbeFailed(_explain(error), reason_of(error)) from error
            self.reloads += 1
            self.end(unload=error.value == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)
        try:
            self._begin()
            return function()
        except NvmlError as error:
            self.end()
            raise GpuProbeFailed(_explain(error), reason_of(error)) from error

    def end(self, *, unload: bool = False) -> None:
        """Give the library back.

        Parameters
        ----------
        unload
            Forget it altogether, so that the file an update put in its place is taken next time.
        """
        if self._open:
            with contextlib.suppress(NvmlError):
                pynvml.nvmlShutdown()
        self._open = False
        if unload:
            self._unload()

    def _begin(self) -> None:
        if self._open and pynvml.nvmlLib is self._library:
            return
        pynvml.nvmlInit()
        self._open, self._library = True, pynvml.nvmlLib
        self.started += 1

    @staticmethod
    def _unload() -> None:
        # nvidia-ml-py keeps the library for the life of the process, and the loader gives the same one to whoever
        # asks for the name again; only when nobody holds it any more is the new file opened.
        library = pynvml.nvmlLib
        with pynvml.libLoadLock:
            pynvml.nvmlLib = None
            pynvml._nvmlGetFunctionPointer_cache.clear()  # noqa: SLF001  there is no other way
        if isinstance(library, CDLL):
            _ctypes.dlclose(library._handle)  # noqa: SLF001


def _explain(error: Any) -> str:
    return _EXPLAINED.get(error.value) or f"The NVIDIA driver's library failed: {error}."
