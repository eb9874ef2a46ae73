"""Where a course's materials may come from: an https address of a git repository, or a directory that admins offer."""

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import urlsplit

from .model import Deny

_LONGEST = 500
_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+=#.-]*(/[A-Za-z0-9_][A-Za-z0-9_+=#.-]*)*")
_HOST = re.compile(r"[a-z0-9.-]+|[0-9a-f:.]+")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_address(materials: str) -> bool:
    """Tell whether something looks like an address, and not like a directory's name."""
    return ":" in materials or "/" in materials


def host_of(address: str) -> tuple[str, int]:
    """Give the host and the port of an address that `check_materials` lets pass."""
    parts = urlsplit(address)
    return (parts.hostname or "").rstrip("."), parts.port or 443


def check_materials(
    materials: str, branch: str = "", offered: Collection[str] = (), hosts: Collection[str] = ()
) -> Deny | None:
    """Find why materials cannot come from there; ``invalid_option``.

    What a host's name leads to is looked at when the materials are fetched.

    Parameters
    ----------
    offered
        Names of the directories that admins offer.
    hosts
        That materials may come from; empty for all that are not in a private network.
    """
    if branch and (not _BRANCH.fullmatch(branch) or ".." in branch or branch.endswith((".", ".lock"))):
        return _refused(f"No branch can be called {branch!r}.")
    if not materials or materials in offered:
        return None
    if not is_address(materials):
        names = ", ".join(sorted(offered)) or "none"
        return _refused(f"No materials are called {materials!r} here; there are: {names}. Or give an https address.")
    return _check_address(materials, hosts)


def _check_address(address: str, hosts: Collection[str]) -> Deny | None:
    try:
        parts = urlsplit(address)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return _refused(f"{address[:80]!r} is no address.")
    if parts.scheme != "https":
        return _refused("Materials come from an https address, such as https://git.example.org/course.git.")
    if parts.username is not None or parts.password is not None:
        return _refused("The address holds a password, which everybody could read who sees the course; leave it out.")
    plain = address.isascii() and address.isprintable() and not set(' "\\<>^`{|}') & set(address)
    if not plain or len(address) > _LONGEST or not _HOST.fullmatch(host) or port == 0:
        return _refused(f"{address[:80]!r} is no address.")
    if not parts.path.strip("/") or parts.query or parts.fragment:
        return _refused("The address is that of the repository itself, such as https://git.example.org/course.git.")
    if hosts:
        if host in {one.lower() for one in hosts}:
            return None
        return _refused(f"Materials may come from {', '.join(sorted(hosts))}, and not from {host}; ask an admin.")
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        return None
    return None if is_public(literal) else _refused(private_host(host))


def private_host(host: str) -> str:
    """Say that a host is refused."""
    return (
        f"{host} is in a private network, from which materials come only if an admin names the host "
        "(classes.git_hosts in the settings)."
    )


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Tell whether an address is in the public network, also one that stands for another."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


def _refused(why: str) -> Deny:
    return Deny("invalid_option", why)
