"""Images of users' servers: there already, or pulled with progress in bytes."""

from collections.abc import Callable
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound, NotFound
from docker.utils import parse_repository_tag

from ..errors import ImageUnavailable

Report = Callable[[int, int], None]


class PullProgress:
    """Sums up the layers of a pull.

    Bytes count once per layer, as downloaded; what lies on the engine already is not in the stream.
    """

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}

    def update(self, event: dict[str, Any]) -> tuple[int, int]:
        """Take one event of the stream and give (bytes here, bytes in all) as far as known."""
        layer, detail = event.get("id", ""), event.get("progressDetail") or {}
        if event.get("status") == "Downloading" and detail.get("total"):
            self._layers[layer] = (detail["current"], detail["total"])
        elif event.get("status") in {"Download complete", "Pull complete"} and layer in self._layers:
            total = self._layers[layer][1]
            self._layers[layer] = (total, total)
        return (
            sum(here for here, _ in self._layers.values()),
            sum(total for _, total in self._layers.values()),
        )


def exists(client: docker.APIClient, image: str) -> bool:
    try:
        client.inspect_image(image)
    except ImageNotFound:
        return False
    return True


def command(client: docker.APIClient, image: str) -> tuple[str, ...]:
    """Give the command that an image runs by itself, without its entry point."""
    return tuple(client.inspect_image(image)["Config"].get("Cmd") or ())


def pull(client: docker.APIClient, image: str, report: Report) -> None:
    """Pull an image; `report` is called with bytes here and bytes in all, in the calling thread.

    Raises
    ------
    ImageUnavailable
        If the registry cannot be reached or does not give it.
    """
    repository, tag = parse_repository_tag(image)
    progress = PullProgress()
    try:
        for event in client.pull(repository, tag=tag or "latest", stream=True, decode=True):
            if "error" in event:
                raise unavailable(image, event["error"])
            report(*progress.update(event))
    except (APIError, NotFound) as error:
        raise unavailable(image, error.explanation or str(error)) from error


def unavailable(image: str, cause: str) -> ImageUnavailable:
    return ImageUnavailable(
        f"The image {image} is not on this machine and could not be pulled: {cause}. "
        "An admin can build it with `make images`, or name another in the settings (image, profiles.N.image)."
    )
