"""TensorBoard's own reader finds every epoch once, also after a training that was gone on with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing import event_accumulator

from nodulenet.training.tensorboard import FOLDER, SCALARS, EventLog


def row(epoch: int, **others: object) -> dict[str, object]:
    return {
        "epoch": epoch,
        "loss": 1 / epoch,
        "val_auc": 0.5 + 0.01 * epoch,
        "learning_rate": 1e-3,
        "seconds": 10.0,
        "patches_per_s": 100.0,
    } | others


def read(unit: Path) -> dict[str, list[tuple[int, float]]]:
    reader = event_accumulator.EventAccumulator(str(unit / FOLDER))
    reader.Reload()
    return {
        tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]
    }


def test_every_epoch_is_a_step_and_what_is_not_measured_is_no_curve(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    for epoch in range(1, 6):
        # As read back from a CSV file: empty cells are NaN or "".
        log.add(row(epoch, val_loss=float("nan") if epoch % 2 else ""))
    curves = read(tmp_path)
    assert set(curves) == set(SCALARS) - {"val_loss"}
    assert [step for step, _ in curves["loss"]] == [1, 2, 3, 4, 5]
    assert [v for _, v in curves["loss"]] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])
    assert [v for _, v in curves["val_auc"]] == pytest.approx([0.51, 0.52, 0.53, 0.54, 0.55])


def test_a_resumed_unit_has_no_step_twice_and_none_of_a_lost_epoch(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    for epoch in (1, 2, 3):
        log.add(row(epoch, loss=9.0))
    # Killed while it wrote: half a record at the end.
    file = next((tmp_path / FOLDER).iterdir())
    file.write_bytes(file.read_bytes()[:-7])
    # A reader that is open during all of it, as TensorBoard is.
    open_reader = event_accumulator.EventAccumulator(str(tmp_path / FOLDER))
    open_reader.Reload()
    log = EventLog(tmp_path, [row(1), row(2)])
    log.add(row(3))
    log.add(row(4))
    curves = read(tmp_path)
    assert [step for step, _ in curves["loss"]] == [1, 2, 3, 4]
    assert [v for _, v in curves["loss"]] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    open_reader.Reload()
    assert [e.step for e in open_reader.Scalars("loss")] == [1, 2, 3, 4]
    assert [e.value for e in open_reader.Scalars("loss")] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    reader = event_accumulator.EventAccumulator(str(tmp_path / FOLDER))
    reader.Reload()
    times = [e.wall_time for e in reader.Scalars("loss")]
    assert times == sorted(times)
    assert times[1] - times[0] == pytest.approx(10)


def test_writing_imports_no_framework(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from nodulenet.training.tensorboard import EventLog\n"
        f"EventLog(Path({str(tmp_path)!r})).add({{'epoch': 1, 'loss': 0.5}})\n"
        "print([m for m in ('tensorflow', 'torch', 'keras', 'jax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
    assert read(tmp_path)["loss"] == [(1, 0.5)]
