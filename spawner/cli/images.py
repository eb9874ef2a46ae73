"""``berth images``: build or pull the images of users' servers."""

import os
import time
from pathlib import Path

import click
import docker

from ..engine.build import BuildInputs, Flavour, ensure_image, host_certificates
from ..engine.client import engine_errors
from ..engine.daemon import ensure_engine
from ..engine.images import exists, pull
from ..errors import ImageUnavailable
from ..policy.admission import format_bytes
from ..settings import DEFAULT_IMAGE
from .arguments import bare
from .checks import require_space
from .deployment import GPU_IMAGE, Deployment, connect
from .output import Output, json_option
from .warm_cache import warm

_BUILT_HERE: dict[str, Flavour] = {DEFAULT_IMAGE: "cpu", GPU_IMAGE: "gpu"}
# What a build takes on the engine's disk while it runs: about twice the image.
_BUILD_SPACE: dict[Flavour, int] = {"cpu": 5 << 30, "gpu": 12 << 30}


@click.group(invoke_without_command=True)
@click.option("--flavour", type=click.Choice(["cpu", "gpu", "all"]), help="Which to build [default: what is used].")
@click.option("--force", is_flag=True, help="Build from scratch, with today's Debian packages; pull anew.")
@json_option
@click.pass_context
def images(context: click.Context, flavour: str | None, force: bool, as_json: bool) -> None:
    """Build the user image, or pull it where the settings name one of yours.

    Does nothing for an image that was built from the same recipe.
    """
    if not bare(context):
        return
    output = Output(as_json)
    deployment = Deployment.load()
    ensure_engine(output.step)
    client = connect(timeout=900)
    try:
        if flavour is None:
            names = ensure_images(deployment, client, output, force=force)
        else:
            wanted = [name for name, kind in _BUILT_HERE.items() if flavour in {kind, "all"}]
            names = [_build(deployment, client, name, output, force=force) for name in wanted]
        with engine_errors():
            found = [{"image": name, "id": client.inspect_image(name)["Id"]} for name in names]
    finally:
        client.close()
    output.data(found)
    for image in found:
        output.say(f"{image['image']} ({image['id'][7:19]})")


images.add_command(warm)


def ensure_images(
    deployment: Deployment, client: docker.APIClient, output: Output, *, force: bool = False
) -> list[str]:
    """See to it that every image which a profile may start is on the engine; give their names.

    Raises
    ------
    ImageUnavailable, ImageBuildFailed, BaseImageUnavailable, DiskNearlyFull
        If one cannot be had.
    """
    names = list(deployment.all_images)
    for name in names:
        if name in _BUILT_HERE:
            _build(deployment, client, name, output, force=force)
            continue
        with engine_errors():
            there = exists(client, name)
        if force or not there:
            _pull(deployment, client, name, output)
    return names


def _pull(deployment: Deployment, client: docker.APIClient, name: str, output: Output) -> None:
    if deployment.settings.pull == "never":
        raise ImageUnavailable(f"The image {name} is not on this machine, and pull is set to never.")
    output.step(f"Pulling {name}")
    told = time.monotonic()

    def report(here: int, total: int) -> None:
        nonlocal told
        if total and time.monotonic() - told > 2:
            told = time.monotonic()
            output.detail(f"{format_bytes(here)} of {format_bytes(total)}")

    with engine_errors():
        pull(client, name, report)


def _build(deployment: Deployment, client: docker.APIClient, name: str, output: Output, *, force: bool = False) -> str:
    flavour = _BUILT_HERE[name]
    with engine_errors():
        folder = Path(client.info()["DockerRootDir"])
        if folder.is_dir() and not exists(client, name):
            require_space(folder, _BUILD_SPACE[flavour], f"building {name} (the Docker Engine's directory)")
    settings = deployment.settings
    inputs = BuildInputs(
        # The settings' ones and those of this machine: what it needs to reach a registry, the build needs too.
        certificates=tuple(dict.fromkeys([*settings.certificates, *host_certificates()])),
        keep_certificates=settings.keep_certificates,
        pip_index_url=settings.pip_index_url,
        debian_mirror=settings.debian_mirror,
        environment=os.environ,
    )
    output.step(f"Image {name}")
    with engine_errors():
        ensure_image(
            client, flavour, deployment.root / "images" / "tensorflow", inputs, output.detail, name, force=force
        )
    return name
