"""Progress read from files: every state, times by hand, and whatever may lie in these files."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodulenet.training.watch import Snapshot, Watcher, watch

HEADER = "epoch,loss,val_loss,val_auc,learning_rate,seconds,patches_per_s"


@dataclass(frozen=True)
class Named:
    model: str
    fold: int
    seed: int = 0


def write(run: Path, unit: Named, name: str, content: str | dict[str, Any]) -> Path:
    file = run / "units" / unit.model / f"fold-{unit.fold}" / f"seed-{unit.seed}" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    temporary = file.with_suffix(".new")
    temporary.write_text(text)
    temporary.replace(file)
    return file


def history(seconds: list[float], aucs: list[float | str] | None = None) -> str:
    rows = [
        f"{i},{1 / i},0.5,{'' if aucs is None else aucs[i - 1]},0.001,{s},{100 / s}"
        for i, s in enumerate(seconds, start=1)
    ]
    return "\n".join([HEADER, *rows]) + "\n"


def test_a_run_that_is_not_there_yet_is_all_waiting(tmp_path: Path) -> None:
    found = watch(tmp_path / "none", [Named("a", 0), Named("a", 1)], 10)
    assert [u.state for u in found.units] == ["waiting", "waiting"]
    assert (found.epochs, found.epochs_over, found.left_s) == (20, 0, None)


def test_states_figures_and_the_time_left_are_what_the_files_say(tmp_path: Path) -> None:
    units = [Named("a", 0), Named("a", 1), Named("a", 2), Named("b", 0), Named("b", 1, 7)]
    done, going, broken, _, resting = units
    write(tmp_path, done, "history.csv", history([9, 2, 2, 2], [0.6, 0.9, 0.7, 0.7]))
    write(tmp_path, done, "unit.json", {"best_epoch": 2})
    write(tmp_path, going, "started.json", {"time": "2030-01-01", "epochs": 12})
    file = write(tmp_path, going, "history.csv", history([30, 4, 4]))
    write(tmp_path, broken, "started.json", {"epochs": 10})
    write(tmp_path, broken, "failed.json", {"error": "epoch 2: the loss is nan"})
    write(tmp_path, resting, "history.csv", history([5]))
    half_an_epoch_ago = time.time() - 2
    os.utime(file, (half_an_epoch_ago, half_an_epoch_ago))
    os.utime(file.with_name("started.json"), (1, 1))
    found = watch(tmp_path, units, 10)
    assert [u.state for u in found.units] == [
        "finished",
        "running",
        "failed",
        "waiting",
        "waiting",
    ]
    finished, running, failed, waiting, rested = found.units
    # The best epoch's AUC; stopped after 4 of 10 epochs, so nobody waits for the others.
    assert (finished.auc, finished.epoch, finished.epochs_over) == (0.9, 4, 10)
    assert finished.seconds == 15
    assert (running.epoch, running.epochs, running.auc) == (3, 12, None)
    assert running.loss == pytest.approx(1 / 3)
    assert running.patches_per_s == pytest.approx(25)
    assert running.seconds_an_epoch == 4  # without the first epoch, which compiles
    assert running.left_s == pytest.approx(9 * 4 - 2, abs=0.5)
    assert failed.error == "epoch 2: the loss is nan"
    assert rested.epoch == 1
    assert rested.left_s == pytest.approx(9 * 5)
    assert waiting.left_s == pytest.approx(10 * 5)  # by the other unit of its model
    assert found.epochs_over == 10 + 3 + 10 + 0 + 1
    # One at a time was seen at work.
    assert found.left_s == pytest.approx(34 + 50 + 45, abs=0.5)


def test_two_at_a_time_share_what_waits(tmp_path: Path) -> None:
    units = [Named("a", fold) for fold in range(5)]
    for unit, epochs in ((units[0], 2), (units[1], 6)):
        write(tmp_path, unit, "started.json", {"epochs": 10})
        write(tmp_path, unit, "history.csv", history([1.0] * epochs))
    # Left: 8 and 4 s (less what has passed), then 10, 10, 10 s: 4+10+10 against 8+10.
    assert watch(tmp_path, units, 10).left_s == pytest.approx(24, abs=1.1)


def test_a_first_epoch_is_no_measure_where_others_have_gone_on(tmp_path: Path) -> None:
    units = [Named("a", 0), Named("a", 1), Named("a", 2)]
    write(tmp_path, units[0], "history.csv", history([20, 2, 2]))
    write(tmp_path, units[0], "unit.json", {})
    for unit in units[1:]:
        write(tmp_path, unit, "started.json", {"epochs": 10})
    write(tmp_path, units[1], "history.csv", history([18]))
    found = watch(tmp_path, units, 10).units
    assert found[1].left_s == pytest.approx(9 * 2, abs=1)
    assert found[2].left_s == pytest.approx(10 * 2, abs=1)


def test_epochs_are_counted_as_far_as_their_lines_are_whole(tmp_path: Path) -> None:
    text = history([3, 1, 2, 4], [0.5, 0.6, 0.7, 0.8])
    unit = Named("a", 0)

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, len(text)))
    def check(cut: int) -> None:
        write(tmp_path, unit, "history.csv", text[:cut])
        found = watch(tmp_path, [unit], 9).units[0]
        whole = max(0, text[:cut].count("\n") - 1)
        assert found.epoch == whole
        assert found.loss == (pytest.approx(1 / whole) if whole else None)

    check()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["started.json", "history.csv", "failed.json", "unit.json"]),
    st.binary(max_size=60)
    | st.sampled_from(
        [b"[]", b'{"epochs": "x"}', b'{"epochs": -1}', b"epoch,loss\n1,x\n", b'epoch\n"1\n', b"{"]
    ),
)
def test_no_content_of_the_files_is_an_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("any")
    unit = Named("a", 0)
    write(folder, unit, name, "").write_bytes(content)
    found = watch(folder, [unit], 9)
    assert found.units[0].epochs == 9


class Listener:
    """Keeps what it hears, and wakes who waits for a state."""

    def __init__(self) -> None:
        self.heard: list[Snapshot] = []
        self._changed = threading.Condition()

    def __call__(self, snapshot: Snapshot) -> None:
        with self._changed:
            self.heard.append(snapshot)
            self._changed.notify_all()

    def wait(self, condition: Callable[[Snapshot], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(
                lambda: bool(self.heard) and condition(self.heard[-1]), timeout=10
            )


def test_what_an_earlier_call_left_behind_is_waiting_until_it_is_begun_again(
    tmp_path: Path,
) -> None:
    killed, failed = units = [Named("a", 0), Named("a", 1)]
    write(tmp_path, killed, "started.json", {"epochs": 5})
    write(tmp_path, killed, "history.csv", history([1, 1]))
    write(tmp_path, failed, "started.json", {"epochs": 5})
    write(tmp_path, failed, "failed.json", {"error": "out of memory"})
    assert [u.state for u in watch(tmp_path, units, 5).units] == ["running", "failed"]
    listener = Listener()
    with Watcher(tmp_path, units, 5, listener, pause_s=0.01) as watcher:
        listener.wait(lambda s: [u.state for u in s.units] == ["waiting", "waiting"])
        assert listener.heard[0].units[0].epoch == 2
        write(tmp_path, failed, "started.json", {"epochs": 5})
        listener.wait(lambda s: s.units[1].state == "running")
        write(tmp_path, failed, "failed.json", {"error": "again"})
        listener.wait(lambda s: s.units[1].state == "failed")
        # A half-written file does not take back what was read before.
        write(tmp_path, killed, "history.csv", "epoch,lo")
        heard = len(listener.heard)
        listener.wait(lambda _: len(listener.heard) > heard + 1)
        assert listener.heard[-1].units[0].epoch == 2
        write(tmp_path, killed, "history.csv", history([1] * 5))
        write(tmp_path, killed, "unit.json", {})
    # The last look is taken when the block has ended.
    assert [u.state for u in watcher.last.units] == ["finished", "failed"]
    assert watcher.last.units[0].epoch == 5
    assert listener.heard[-1] == watcher.last


def test_it_looks_about_twice_a_second_and_ends_with_the_block(tmp_path: Path) -> None:
    listener = Listener()
    with Watcher(tmp_path, [Named("a", 0)], 5, listener):
        time.sleep(1.9)
    heard = len(listener.heard)
    assert 3 <= heard <= 6  # 0, 0.5, 1, 1.5 s and the last look; a busy machine may lose some
    time.sleep(0.6)
    assert len(listener.heard) == heard
