"""Domain errors, one tree, sorted; each with a machine-readable code.

::

    BerthError
      BaseImageUnavailable
      ContainerExited
      DiskNearlyFull
      EngineUnavailable
      FirewallUnavailable
      HubNotReady
      ImageBuildFailed
      ImageUnavailable
      LimitRefused
      NotRoot
      PortTaken
      ServerNotReady
      SettingsInvalid
      SignInMisconfigured
      StateDirectoryBusy

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


class BaseImageUnavailable(BerthError):
    """Neither a registry nor a Debian mirror gave the image's base."""

    code = "base_image_unavailable"


class ContainerExited(BerthError):
    """A user's container ended before its server answered."""

    code = "container_exited"


class DiskNearlyFull(BerthError):
    code = "disk_nearly_full"


class EngineUnavailable(BerthError):
    """The Docker Engine did not answer, or answered with an error of its own."""

    code = "engine_unavailable"


class FirewallUnavailable(BerthError):
    """The rules which keep users' containers apart could not be set or verified."""

    code = "firewall_unavailable"


class HubNotReady(BerthError):
    """The hub's process ended, or did not answer in time."""

    code = "hub_not_ready"


class ImageBuildFailed(BerthError):
    code = "image_build_failed"


class ImageUnavailable(BerthError):
    """An image is neither on the engine nor to be had from its registry."""

    code = "image_unavailable"


class LimitRefused(BerthError):
    """The kernel refuses a limit that the settings ask for."""

    code = "limit_refused"


class NotRoot(BerthError):
    """Something is missing which only root can install or start."""

    code = "not_root"


class PortTaken(BerthError):
    code = "port_taken"


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
