import docker
import pytest

from spawner.operations import inventory
from spawner.policy.gpus import LOCAL_NODE
from spawner.policy.names import cuda_volume_name

from .admin import A100, T4, Admin, fitted


def test_nothing_is_begun_where_nobody_can_work(admin: Admin) -> None:
    assert "No GPUs are known" in admin.refused("images", "warm-cache", code="cache_not_warmed")
    admin.inventory((A100, 1), (T4, 2))
    admin.lease("ann", models=frozenset({T4}))
    told = admin.refused("images", "warm-cache", code="cache_not_warmed")
    assert f"No {T4} is free" in told
    assert admin.run("images", "warm-cache", "--gpu", "gpu9").exit_code == 2
    assert {gpu["state"] for gpu in admin.data("gpus")["gpus"]} == {"in_service"}


@pytest.mark.docker
@pytest.mark.image
def test_each_model_is_warmed_on_one_gpu_that_serves_again(admin: Admin) -> None:
    gpus, slots = zip(*(fitted(index, A100, 1, simulated=True) for index in range(2)), strict=True)
    inventory.sync(admin.desk, LOCAL_NODE, gpus, [slot for of_gpu in slots for slot in of_gpu])
    lease = admin.lease("ann", models=frozenset({A100}))
    held = next(use.slot.gpu for _, uses in inventory.board(admin.desk).gpus for use in uses if use.lease)
    (done,) = admin.data("images", "warm-cache")
    free = next(gpu.name for gpu in gpus if gpu.uuid != held)
    assert (done["gpu"], done["model"], done["ok"], done["written"]) == (free, A100, True, False)
    hub_id = (admin.state_dir / "hub-id").read_text().strip()
    client = docker.from_env()
    try:
        assert done["volume"] == cuda_volume_name(hub_id, A100)
        client.volumes.get(done["volume"]).remove()
    finally:
        client.close()
    board = inventory.board(admin.desk)
    assert {gpu.state for gpu, _ in board.gpus} == {"in_service"}
    assert [use.lease.id for _, uses in board.gpus for use in uses if use.lease] == [lease.id]
