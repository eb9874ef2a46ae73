"""A user image of 2 MB for tests of containers: a static busybox, made without a registry.

Its server answers on port 8888; ``BEHAVE`` in the environment lets it misbehave.
"""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import docker
from docker.errors import ImageNotFound

IMAGE = "berth-test/tiny:3"
PORT = 8888
APPLETS = [
    "cat",
    "df",
    "dd",
    "env",
    "grep",
    "httpd",
    "id",
    "ip",
    "kill",
    "ls",
    "mkdir",
    "nc",
    "ping",
    "ping6",
    "ps",
    "sh",
    "sleep",
    "tail",
    "test",
    "timeout",
    "touch",
    "wget",
]
SERVE = f"""#!/bin/sh
trap 'echo told to end; exit 0' TERM
case "$BEHAVE" in
exit) echo "first words"; echo "<b>ImportError</b>: no module named numpy"; exit 3 ;;
oom) exec tail /dev/zero ;;
mute) echo "I listen to nobody" ;;
*) mkdir -p /tmp/www; httpd -p {PORT} -h /tmp/www ;;
esac
while :; do sleep 1000 & wait $!; done
"""


def busybox() -> Path | None:
    """Find a busybox that needs no libraries (Debian's package busybox-static)."""
    found = shutil.which("busybox")
    if found is None:
        return None
    # Debian's plain busybox is linked dynamically: it would not start in an image without libraries.
    linked = subprocess.run(["ldd", found], capture_output=True, text=True, check=False)
    return Path(found) if "not a dynamic executable" in linked.stdout + linked.stderr else None


def ensure_tiny_image(client: docker.APIClient) -> str:
    """Give the image's name; makes it where it is missing.

    Raises
    ------
    RuntimeError
        If there is no static busybox.
    """
    try:
        client.inspect_image(IMAGE)
    except ImageNotFound:
        program = busybox()
        if program is None:
            raise RuntimeError("no static busybox: apt-get install busybox-static") from None
        repository, tag = IMAGE.split(":")
        client.import_image_from_data(
            _root(program),
            repository,
            tag,
            changes=["USER 1000", "WORKDIR /home/jovyan", 'CMD ["/bin/serve"]', "ENV PATH=/bin"],
        )
    return IMAGE


def _root(program: Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, mode, owner in (
            ("bin", 0o755, 0),
            ("etc", 0o755, 0),
            ("tmp", 0o1777, 0),
            ("home", 0o755, 0),
            ("home/jovyan", 0o755, 1000),
        ):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode, directory.uid, directory.gid = tarfile.DIRTYPE, mode, owner, owner
            tar.addfile(directory)
        for name, content, mode in (
            ("bin/busybox", program.read_bytes(), 0o755),
            ("bin/serve", SERVE.encode(), 0o755),
            ("etc/passwd", b"root:x:0:0::/:/bin/sh\njovyan:x:1000:1000::/home/jovyan:/bin/sh\n", 0o644),
            ("home/jovyan/from-the-image", b"kept\n", 0o644),
        ):
            file = tarfile.TarInfo(name)
            file.size, file.mode = len(content), mode
            tar.addfile(file, io.BytesIO(content))
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return packed.getvalue()


def run_inside(client: docker.APIClient, container: str, *command: str) -> tuple[int, str]:
    """Run a command in a container; give its exit status and what it printed."""
    started = client.exec_create(container, list(command))["Id"]
    printed: bytes = client.exec_start(started)
    return int(client.exec_inspect(started)["ExitCode"]), printed.decode()


def remove_traces(client: docker.APIClient, hub_id: str) -> None:
    """Remove all that carries a hub's label: containers, volumes, its network and firewall."""
    # Imported here: what only needs the image needs no firewall.
    from spawner.engine.network import remove_network
    from spawner.engine.view import HUB_LABEL

    label = {"label": f"{HUB_LABEL}={hub_id}"}
    for container in client.containers(all=True, filters=label):
        client.remove_container(container["Id"], force=True, v=True)
    for volume in client.volumes(filters=label)["Volumes"] or []:
        client.remove_volume(volume["Name"], force=True)
    remove_network(client, hub_id)
