import docker
import pytest

from spawner.engine.images import PullProgress, exists, pull
from spawner.errors import ImageUnavailable

from ..support.flaky_engine import FlakyEngine


def _downloading(layer: str, here: int, total: int) -> dict[str, object]:
    return {"status": "Downloading", "id": layer, "progressDetail": {"current": here, "total": total}}


def test_progress_sums_up_layers() -> None:
    progress = PullProgress()
    assert progress.update({"status": "Pulling from library/x", "id": "latest"}) == (0, 0)
    assert progress.update({"status": "Pulling fs layer", "id": "a", "progressDetail": {}}) == (0, 0)
    assert progress.update(_downloading("a", 10, 100)) == (10, 100)
    assert progress.update(_downloading("b", 5, 50)) == (15, 150)
    assert progress.update(_downloading("a", 90, 100)) == (95, 150)
    assert progress.update({"status": "Verifying Checksum", "id": "a"}) == (95, 150)
    assert progress.update({"status": "Download complete", "id": "a", "progressDetail": {}}) == (105, 150)
    extracting = {"status": "Extracting", "id": "a", "progressDetail": {"current": 1, "total": 900}}
    assert progress.update(extracting) == (105, 150)
    assert progress.update({"status": "Pull complete", "id": "a"}) == (105, 150)
    assert progress.update({"status": "Already exists", "id": "c"}) == (105, 150)
    assert progress.update({"status": "Pull complete", "id": "b"}) == (150, 150)


@pytest.mark.parametrize(
    "event", [{}, {"status": "Downloading"}, {"status": "Downloading", "id": "a", "progressDetail": None}]
)
def test_progress_takes_events_without_figures(event: dict[str, object]) -> None:
    assert PullProgress().update(event) == (0, 0)


def test_progress_takes_a_layer_of_unknown_size() -> None:
    event = {"status": "Downloading", "id": "a", "progressDetail": {"current": 7, "total": 0}}
    assert PullProgress().update(event) == (0, 0)


@pytest.mark.docker
def test_what_is_here(client: docker.APIClient, tiny: str) -> None:
    assert exists(client, tiny)
    assert not exists(client, "berth-test/none:1")


@pytest.mark.docker
def test_a_registry_out_of_reach(client: docker.APIClient) -> None:
    # Port 1 of the engine's own host: nobody listens.
    with pytest.raises(ImageUnavailable, match=r"The image localhost:1/none:2 is not on this machine") as failed:
        pull(client, "localhost:1/none:2", lambda *_: None)
    assert "make images" in str(failed.value)


@pytest.mark.docker
def test_a_registry_without_the_image(flaky: FlakyEngine, flaky_client: docker.APIClient) -> None:
    flaky.answer("POST .*/images/create", 404)
    with pytest.raises(ImageUnavailable, match="told to fail by a test"):
        pull(flaky_client, "berth-test/none:1", lambda *_: None)
