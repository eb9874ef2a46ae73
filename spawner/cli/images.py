"""``berth images``: build or pull the images of users' servers."""

import time
from pathlib import Path

import click
import docker

from ..engine.client import engine_errors
from ..engine.daemon import ensure_engine
from ..engine.images import exists, pull
from ..errors import ImageUnavailable
from ..policy.admission import format_bytes
from ..settings import DEFAULT_IMAGE
from .checks import require_space
from .deployment import GPU_IMAGE, Deployment, connect
from .output import Output, json_option

_BUILT_HERE = {DEFAULT_IMAGE: "cpu", GPU_IMAGE: "gpu"}
# What a build takes on the engine's disk while it runs: about twice the image.
_BUILD_SPACE = {"cpu": 5 << 30, "gpu": 12 << 30}


@click.command()
@click.option("--flavour", type=click.Choice(["cpu", "gpu", "all"]), help="Which to build [default: what is used].")
@json_option
def images(flavour: str | None, as_json: bool) -> None:
    """Build the user image, or pull it where the settings name one of yours."""
    output = Output(as_json)
    deployment = Deployment.load()
    ensure_engine(output.step)
    client = connect(timeout=900)
    try:
        if flavour is None:
            names = ensure_images(deployment, client, output, rebuild=True)
        else:
            wanted = [name for name, kind in _BUILT_HERE.items() if flavour in {kind, "all"}]
            names = [_build(deployment, client, name, output) for name in wanted]
        with engine_errors():
            found = [{"image": name, "id": client.inspect_image(name)["Id"]} for name in names]
    finally:
        client.close()
    output.data(found)
    for image in found:
        output.say(f"{image['image']} ({image['id'][7:19]})")


def ensure_images(
    deployment: Deployment, client: docker.APIClient, output: Output, *, rebuild: bool = False
) -> list[str]:
    """See to it that every image which a profile may start is on the engine; give their names.

    Raises
    ------
    ImageUnavailable, ImageBuildFailed, BaseImageUnavailable, DiskNearlyFull
        If one cannot be had.
    """
    names = list(deployment.all_images)
    for name in names:
        with engine_errors():
            there = exists(client, name)
        if name in _BUILT_HERE:
            if rebuild or not there:
                _build(deployment, client, name, output)
        elif not there:
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


def _build(deployment: Deployment, client: docker.APIClient, name: str, output: Output) -> str:
    from ..engine.build import BuildInputs, ensure_image

    flavour = _BUILT_HERE[name]
    with engine_errors():
        folder = Path(client.info()["DockerRootDir"])
        if folder.is_dir() and not exists(client, name):
            require_space(folder, _BUILD_SPACE[flavour], f"building {name} (the Docker Engine's directory)")
    settings = deployment.settings
    inputs = BuildInputs()
    output.step(f"Building {name}")
    ensure_image(client, flavour, deployment.root / "images" / "tensorflow", inputs, output.detail, tag=name)
    return name
