"""Materials from a git repository: one branch of it, kept in the course's own."""

import ipaddress
import re
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass

from ..errors import CourseFilesFailed
from ..policy.materials import host_of, is_public, private_host
from .git import Git

_DEFAULT = re.compile(r"^ref: refs/heads/(\S+)\tHEAD$", re.MULTILINE)

Look = Callable[[str, int], list[str]]
"""Gives the addresses that a host's name and port lead to."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What seats get now."""

    branch: str
    commit: str


def resolve(host: str, port: int) -> list[str]:
    """Look a host up.

    Raises
    ------
    CourseFilesFailed
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise CourseFilesFailed(f"The host {host} cannot be found: {error}.") from error
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


def public_only(address: str, hosts: Collection[str], look: Look = resolve) -> list[str]:
    """See to it that an address leads into no private network, now and while git is at it.

    Parameters
    ----------
    hosts
        That admins have named: these may be anywhere.

    Returns
    -------
    list
        Settings for git: the very addresses that were looked at.

    Raises
    ------
    CourseFilesFailed
    """
    if hosts:
        return []
    host, port = host_of(address)
    found = look(host, port)
    if not found or not all(is_public(ipaddress.ip_address(one)) for one in found):
        raise CourseFilesFailed(private_host(host))
    named = ",".join(f"[{one}]" if ":" in one else one for one in found)
    return [f"http.curloptResolve={host}:{port}:{named}"]


def fetch(git: Git, address: str, branch: str, settings: Collection[str] = ()) -> Fetched:
    """Bring a repository's branch here; who clones meanwhile gets what there was, or what there is then.

    Parameters
    ----------
    branch
        Empty for the one that the repository shows by itself.

    Raises
    ------
    CourseFilesFailed
        Then seats get what there was.
    """
    what = f"The materials at {address} cannot be fetched"
    git.initialise()
    git.make_room(what)
    if not branch:
        said = git.run("ls-remote", "--symref", "--", address, "HEAD", what=what, settings=tuple(settings))
        found = _DEFAULT.search(said)
        if found is None:
            raise CourseFilesFailed(f"{what}: the repository is empty, or names no main branch; name one.")
        branch = found[1]
    head = f"refs/heads/{branch}"
    options = ("--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--no-auto-maintenance", "--quiet")
    git.run("fetch", *options, "--", address, f"+{head}:{head}", what=what, settings=tuple(settings))
    git.show_only(branch)
    git.tidy()
    return Fetched(branch, git.commit_of(head))
