"""A training in flight on a terminal and in a log: the same facts, within the width there is."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from nodulenet.cli.unit_lines import UnitLines
from nodulenet.cli.unit_table import picture
from nodulenet.cli.unit_words import clock, kept
from nodulenet.training.watch import Snapshot, UnitProgress

LONG = "a_label_that_somebody_made_much_longer_than_any_table_has_room_for"


def running(model: str, fold: int, epoch: int = 7, seed: int = 0) -> UnitProgress:
    return UnitProgress(
        model,
        fold,
        seed,
        state="running",
        epoch=epoch,
        epochs=30,
        loss=0.4123,
        auc=0.8712,
        patches_per_s=214.3,
        seconds=70.0,
        seconds_an_epoch=10.0,
        left_s=130.0,
    )


def finished(model: str, fold: int, when: float, auc: float | None = 0.9134) -> UnitProgress:
    return UnitProgress(
        model, fold, 0, state="finished", epoch=28, epochs=30, auc=auc, seconds=192, changed_s=when
    )


def failed(model: str, fold: int) -> UnitProgress:
    error = "epoch 3: the loss is nan [/red] in the batch of 1.3.6.1.4.1.14519-17;\n" + 9 * "lower "
    return UnitProgress(model, fold, 0, state="failed", epoch=2, epochs=30, error=error)


def drawn(snapshot: Snapshot, width: int, height: int = 24, *, colour: bool = False) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, height=height, force_terminal=colour)
    console.print(picture(snapshot, 723.0, width, height))
    return stream.getvalue()


MIXED = Snapshot(
    (
        *(running("squeezenodule_v2_3d", fold) for fold in range(3)),
        UnitProgress(LONG, 0, 0, state="running", epochs=30),
        *(finished("squeezenodule_v2_3d", fold, when=fold) for fold in range(3, 8)),
        finished(LONG, 1, when=99),
        failed(LONG, 2),
        UnitProgress("squeezenodule_v2_3d", 8, 0, epochs=30),
    ),
    left_s=4321.0,
)


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_the_picture_fits_and_says_what_there_is(width: int) -> None:
    text = drawn(MIXED, width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    words = " ".join(lines[0].split())
    # 3 x 7 epochs, and the 7 units that are over with all of theirs.
    for fact in ("231/360 epochs", "6/12 units", "1 failed", "12:03", "1:12:01 left"):
        assert fact in words
    rows = [line.split() for line in lines if line.startswith("squeezenodule_v2_3d")]
    assert rows == [["squeezenodule_v2_3d", f"{f}", "7/30", "0.412", "0.871", "214", "2:10"]
                    for f in range(3)] or width < 80  # fmt: skip
    assert any(re.search(r"…? +0 +0/30 +- +- +- +-$", line.rstrip()) for line in lines)
    ended = [line for line in lines if line.startswith("finished")]
    assert len(ended) == 3  # the latest
    assert "fold 1  val AUC 0.913, 28 epochs in 3:12" in ended[-1]
    assert "fold 2  epoch 3" in next(line for line in lines if line.startswith("failed"))


def test_failures_are_red_and_brackets_in_them_are_no_markup() -> None:
    text = drawn(MIXED, 120, colour=True)
    line = next(line for line in text.splitlines() if "the loss is nan" in line)
    assert "\x1b[31mfailed" in line
    assert "nan [/red] in" in drawn(MIXED, 160)


def test_more_units_than_lines_are_counted_and_seeds_told_apart() -> None:
    units = [running("m", fold, seed=seed) for fold in range(30) for seed in range(2)]
    lines = drawn(Snapshot(tuple(units), 10.0), 80, height=20).splitlines()
    assert len(lines) <= 20
    rows = [line for line in lines if line.startswith("m ")]
    assert lines[-1] == f"{60 - len(rows)} more in flight"
    assert rows[1].split()[:3] == ["m", "0", "1"]


def test_lines_of_a_log_say_every_end_and_epochs_now_and_then() -> None:
    stream, now = io.StringIO(), [0.0]
    view = UnitLines(stream, 10.0, now=lambda: now[0])

    def lines_of(*units: UnitProgress, left_s: float | None = 65.0) -> list[str]:
        stream.seek(0)
        stream.truncate()
        view.show(Snapshot(units, left_s))
        return stream.getvalue().splitlines()

    waiting = UnitProgress("v1", 1, 0, epochs=30)
    old = finished("v2", 0, when=0)
    assert lines_of(old, waiting, left_s=None) == ["train: 2 units, 60 epochs, 1 finished before"]
    assert lines_of(old, running("v1", 1, epoch=0)) == []
    facts = "loss 0.412, val AUC 0.871, 214 patches/s, 10 s an epoch, 2:10 left"
    expected = f"train: 31/60 epochs, 1:05 left; v1 fold 1: epoch 1/30, {facts}"
    assert lines_of(old, running("v1", 1, epoch=1)) == [expected]
    now[0] = 9.9
    assert lines_of(old, running("v1", 1, epoch=2)) == []
    now[0] = 10.1
    assert lines_of(old, running("v1", 1, epoch=3))[0].startswith("train: 33/60 epochs")
    now[0] = 30
    assert lines_of(old, running("v1", 1, epoch=3)) == []  # nothing new, nothing said
    # What ends is said at once.
    now[0] = 30.5
    end = "train: 60/60 epochs, 0:00 left; v1 fold 1: val AUC 0.913, 28 epochs in 3:12"
    assert lines_of(old, finished("v1", 1, when=1), left_s=0.0) == [end]
    stream.truncate(0)
    view.end(Snapshot((old, failed("v1", 1)), 0.0))
    assert stream.getvalue().endswith("train: 1 of 2 units finished, 1 failed; 0:30\n")


def test_many_units_at_once_do_not_fill_the_log() -> None:
    stream = io.StringIO()
    view = UnitLines(stream, 10.0, now=lambda: 0.0)
    view.show(Snapshot(tuple(UnitProgress("m", f, 0, epochs=30) for f in range(64)), None))
    view.show(Snapshot(tuple(running("m", f) for f in range(64)), 100.0))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1 + 4 + 1
    assert lines[-1].endswith("60 more in flight")


def test_a_stopped_training_says_what_is_kept() -> None:
    units = (
        finished("v1", 0, when=0),
        running("v1", 1),
        UnitProgress("v1", 2, 0, epoch=4, epochs=30),
        UnitProgress("v1", 3, 0, epochs=30),
    )
    expected = "kept: 1 of 4 units finished; v1 fold 1 after epoch 7 of 30; v1 fold 2 after epoch 4"
    assert kept(Snapshot(units, None)).startswith(expected)
    many = kept(Snapshot(tuple(running("m", f) for f in range(9)), None))
    assert many.endswith("; 6 more that were begun")


def test_clocks() -> None:
    texts = ["-", "0:00", "0:59", "1:00", "59:59", "1:00:00", "26:03:05"]
    seconds = [None, 0.4, 59.4, 59.6, 3599, 3600, 26 * 3600 + 185]
    assert [clock(s) for s in seconds] == texts
