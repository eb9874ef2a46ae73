"""What must hold before the hub starts."""

import errno
import os
import shutil
import socket
from pathlib import Path

from ..errors import DiskNearlyFull, NotRoot, PortTaken, SettingsInvalid
from ..policy.admission import format_bytes
from ..processes import Process, listener

STATE_SPACE = 100 << 20  # a database and logs
ENGINE_SPACE = 1 << 30  # what users' containers write outside their homes


def require_space(path: Path, needed: int, purpose: str) -> None:
    """Refuse a file system with less than `needed` bytes free.

    Raises
    ------
    DiskNearlyFull
        Says where, how much is free, how much is needed and for what.
    """
    there = path
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < needed:
        raise DiskNearlyFull(
            f"The disk is nearly full: {format_bytes(free)} free at {path}, "
            f"{format_bytes(needed)} needed for {purpose}. Free some space, or choose another place."
        )


def require_port(address: str, port: int, *, setting: str = "port", variable: str = "BERTH_PORT") -> None:
    """Refuse a port on which something listens.

    Parameters
    ----------
    setting, variable
        Where another port can be set.

    Raises
    ------
    PortTaken
        Names the process that has it, where this user may see it.
    NotRoot
        If only root may listen on it.
    SettingsInvalid
        If this machine does not have the address.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        # As the proxy does: a connection that lingers from an earlier hub is no listener.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen()
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise SettingsInvalid(f"bind_address: this machine has no address {address}.") from None
            if error.errno == errno.EACCES:
                raise NotRoot(f"Only root may listen on port {port}; set {setting} to one from 1024 on.") from None
            if error.errno != errno.EADDRINUSE:
                raise
            raise PortTaken(_taken(port, listener(port), f"{setting} ({variable})")) from None


def _taken(port: int, by: Process | None, setting: str) -> str:
    whose = f"pid {by.pid} ({by.command[:120]})" if by else "a process that this user may not see"
    return f"Port {port} is taken by {whose}. Stop it, or set {setting} to another one."


def writable(path: Path) -> bool:
    """Tell whether something can be made at `path`."""
    while not path.exists():
        path = path.parent
    return os.access(path, os.W_OK | os.X_OK)
