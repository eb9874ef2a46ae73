"""Domain errors, one tree, sorted; each with a machine-readable code.

::

    BerthError
      ArchiveFailed
      BaseImageUnavailable
      CacheNotWarmed
      ContainerExited
      CourseFilesFailed
      DiskNearlyFull
      EngineUnavailable
      FirewallUnavailable
      GpuProbeFailed
      GpuRefused
      GpuRuntimeMissing
      HubNotReady
      HubRefused
      ImageBuildFailed
      ImageUnavailable
      LeaseLost
      LedgerOutdated
      LedgerUnavailable
      LimitRefused
      NotRoot
      PortTaken
      QuotaChanged
      QuotaInvalid
      ServerNotReady
      SettingsInvalid
      SignInMisconfigured
      StateDirectoryBusy
      UnknownName

A message is one or two sentences for a person: what was wrong, named, and what to do about it. A refusal by the
policy is not an error but a value, `spawner.policy.model.Deny`.
"""

from typing import ClassVar


class BerthError(Exception):
    """Base of all errors that Berth raises on purpose.

    Attributes
    ----------
    code
        Stable, machine-readable, lower case with underscores; used as JupyterHub's spawn failure reason, as a
        metric label and in ``--json`` output.
    """

    code: ClassVar[str] = "error"


class ArchiveFailed(BerthError):
    """A home could not be packed, checked or unpacked. Its files are where they were."""

    code = "archive_failed"


class BaseImageUnavailable(BerthError):
    """Neither a registry nor a Debian mirror gave the image's base."""

    code = "base_image_unavailable"


class CacheNotWarmed(BerthError):
    """The common CUDA kernels could not all be compiled ahead of time."""

    code = "cache_not_warmed"


class ContainerExited(BerthError):
    """A user's container ended before its server answered."""

    code = "container_exited"


class CourseFilesFailed(BerthError):
    """A course's materials, pushed files or collected work could not be read or written. Nothing half is left."""

    code = "course_files_failed"


class DiskNearlyFull(BerthError):
    code = "disk_nearly_full"


class EngineUnavailable(BerthError):
    """The Docker Engine did not answer, or answered with an error of its own."""

    code = "engine_unavailable"


class FirewallUnavailable(BerthError):
    """The rules which keep users' containers apart could not be set or verified."""

    code = "firewall_unavailable"


class GpuProbeFailed(BerthError):
    """The GPUs of this host cannot be read, or what simulates them is described wrongly.

    Parameters
    ----------
    reason
        In a word, for metrics: ``timeout``, ``unavailable`` (there is no driver that works), ``denied`` or ``failed``.
    """

    code = "gpu_probe_failed"

    def __init__(self, message: str, reason: str = "failed") -> None:
        super().__init__(message)
        self.reason = reason


class GpuRefused(BerthError):
    """The host's driver did not give a container a GPU that the ledger says is there."""

    code = "gpu_refused"


class GpuRuntimeMissing(BerthError):
    """The Docker Engine has no way, or not the one asked for, to give GPUs to containers."""

    code = "gpu_runtime_missing"


class HubNotReady(BerthError):
    """The hub's process ended, or did not answer in time."""

    code = "hub_not_ready"


class HubRefused(BerthError):
    """The hub answered a call of its API with no.

    Parameters
    ----------
    status
        The HTTP status that it gave, 400 to 599.
    reason
        A code of ours, such as ``over_limit``, where it is we who refuse there; else empty.
    """

    code = "hub_refused"

    def __init__(self, message: str, status: int = 409, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class ImageBuildFailed(BerthError):
    code = "image_build_failed"


class ImageUnavailable(BerthError):
    """An image is neither on the engine nor to be had from its registry."""

    code = "image_unavailable"


class LeaseLost(BerthError):
    """A lease that is not there any more, or belongs to another state than the caller believed."""

    code = "lease_lost"


class LedgerOutdated(BerthError):
    """The ledger has another schema than this program; a command cures it."""

    code = "ledger_outdated"


class LedgerUnavailable(BerthError):
    """The ledger did not answer: locked, full, or gone. Nothing was written."""

    code = "ledger_unavailable"


class LimitRefused(BerthError):
    """The kernel refuses a limit that the settings ask for."""

    code = "limit_refused"


class NotRoot(BerthError):
    """Something is missing which only root can install or start."""

    code = "not_root"


class PortTaken(BerthError):
    code = "port_taken"


class QuotaChanged(BerthError):
    """Somebody has set another quota than the one that was seen. Nothing was written."""

    code = "quota_changed"


class QuotaInvalid(BerthError):
    """Quotas that cannot be: an unknown dimension, a value out of range, a line that cannot be read."""

    code = "quota_invalid"


class ServerNotReady(BerthError):
    """A user's container runs, but its server did not answer in time."""

    code = "server_not_ready"


class SettingsInvalid(BerthError):
    code = "settings_invalid"


class SignInMisconfigured(BerthError):
    """Sign-in settings that cannot work: a secret missing, a placeholder left in place, a provider unreachable."""

    code = "sign_in_misconfigured"


class StateDirectoryBusy(BerthError):
    """Another hub works on the same state directory."""

    code = "state_directory_busy"


class UnknownName(BerthError):
    """A GPU, lease, ticket or the like that does not exist."""

    code = "unknown_name"
