"""Free ports of this machine."""

import random
import socket

_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Find ports that nobody listens on, and never the same one twice.

    They lie below those that the kernel gives to outgoing connections, which could take one before its server does.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(20_000, 32_000)
        if port not in _given and _is_free(port):
            _given.add(port)
            found.append(port)
    return found


def metrics_ports() -> dict[str, str]:
    """Give the settings, as environment, by which a deployment's metrics are on free ports."""
    names = "BERTH_METRICS__EXPORTER_PORT", "BERTH_METRICS__JANITOR_PORT"
    return {name: str(port) for name, port in zip(names, free_ports(len(names)), strict=True)}


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
