"""Files for dcgm-exporter."""

from pathlib import Path

from spawner.exporter.attribution import holdings
from spawner.exporter.mapping import MappingWriter, job_ids, write_mapping
from spawner.exporter.names import Naming
from spawner.exporter.snapshot import Snapshot
from spawner.gpus.telemetry import MigUse
from spawner.metrics.pseudonyms import Pseudonyms

from ..support.waiting import eventually
from .scenes import ANN, BOB, container, gpu, host

NAMES = Naming()


def scene(*containers: object) -> Snapshot:
    telemetry = host(gpu(0), gpu(1), gpu(2, mig=[MigUse("MIG-1", "1g.5gb"), MigUse("MIG-2", "1g.5gb")]))
    parents = {"MIG-1": "GPU-2", "MIG-2": "GPU-2"}
    return Snapshot(telemetry=telemetry, holdings=holdings(containers, parents))  # type: ignore[arg-type]


def files(directory: Path) -> dict[str, str]:
    return {
        file.name: file.read_text(encoding="utf-8") for file in directory.iterdir() if not file.name.startswith(".")
    }


def test_one_line_per_holder_and_one_file_per_gpu_that_is_held() -> None:
    said = job_ids(
        scene(
            container(ANN, "ann", "GPU-0", "MIG-2", lease="A"),
            container(BOB, "bob", "MIG-1", lease="B", server="second"),
        ),
        NAMES,
    )
    assert said == {0: ["A/ann/"], 2: ["A/ann/", "B/bob/second"]}


def test_several_shares_of_a_lease_are_one_line() -> None:
    assert job_ids(scene(container(ANN, "ann", "GPU-1:0", "GPU-1:1", lease="A")), NAMES) == {1: ["A/ann/"]}


def test_a_line_is_a_line_whatever_a_user_is_called() -> None:
    assert job_ids(scene(container(ANN, "a\nB/eve\x85\u2028", "GPU-0", lease="A")), NAMES) == {0: ["A/a?B/eve??/"]}


def test_names_are_hashed_where_they_are_to_be() -> None:
    key = Pseudonyms(b"k" * 32)
    said = job_ids(scene(container(ANN, "ann", "GPU-0", lease="A")), Naming(key, hashed=True))
    assert said == {0: [f"A/{key.of('ann')}/"]}


def test_what_is_not_known_is_not_changed() -> None:
    assert job_ids(Snapshot(), NAMES) is None


def test_files_are_replaced_as_a_whole_and_old_ones_go(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "jobs"
    write_mapping(directory, {0: ["A/ann/"], 10: ["B/bob/", "C/cid/"]})
    assert files(directory) == {"0": "A/ann/\n", "10": "B/bob/\nC/cid/\n"}
    (directory / "notes").write_text("not ours")
    same = (directory / "0").stat().st_ino
    write_mapping(directory, {0: ["A/ann/"]})
    assert files(directory) == {"0": "A/ann/\n", "notes": "not ours"}
    assert (directory / "0").stat().st_ino == same  # nothing to write
    write_mapping(directory, {0: ["D/dan/"]})
    assert (directory / "0").stat().st_ino != same


def test_the_files_follow_the_containers_and_go_with_the_exporter(tmp_path: Path) -> None:
    holders = [container(ANN, "ann", "GPU-0", lease="A")]
    writer = MappingWriter(tmp_path, lambda: scene(*holders), NAMES)
    writer.start()
    eventually(lambda: files(tmp_path) == {"0": "A/ann/\n"})
    holders.append(container(BOB, "bob", "GPU-1", lease="B"))
    writer.changed()
    eventually(lambda: files(tmp_path) == {"0": "A/ann/\n", "1": "B/bob/\n"})
    writer.close()
    assert files(tmp_path) == {}


def test_a_directory_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: object) -> None:
    (tmp_path / "file").write_text("")
    writer = MappingWriter(tmp_path / "file", lambda: scene(container(ANN, "ann", "GPU-0", lease="A")), NAMES)
    writer.start()
    records = caplog.records  # type: ignore[attr-defined]
    eventually(lambda: records)
    writer.changed()
    writer.close()
    assert len(records) == 1
    assert "cannot be written" in records[0].getMessage()
