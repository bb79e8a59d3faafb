"""The state of a training after a whole epoch, from which it goes on bit for bit.

Held are the weights, the state of the optimizer and of the dropout layers' random numbers (which
``.keras`` files drop), the best weights so far and the history. Batches need no state: they depend
on seed, epoch and position alone.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nodulenet.atomic import atomic_path

Arrays = list[npt.NDArray[Any]]
_HEAD = "head"


@dataclass
class Progression:
    """How far a training is.

    Attributes:
        history: one row a finished epoch.
        best_epoch: the epoch that would be kept now, from 1; 0 before the first.
        best_figure: what it was chosen by; higher is better.
        best_weights: its weights, in the order of ``model.weights``.
        begins: epochs that were finished when each round began.
        hard: rows of the hard negatives of the second round, once it has begun.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_figure: tuple[float, ...] = ()
    best_weights: Arrays = field(default_factory=list)
    begins: list[int] = field(default_factory=list)
    hard: npt.NDArray[np.int64] | None = None

    @property
    def epochs(self) -> int:
        """Finished epochs."""
        return len(self.history)


def values_of(variables: Sequence[Any]) -> Arrays:
    """Copies of Keras variables."""
    return [np.array(variable) for variable in variables]


def assign(variables: Sequence[Any], values: Sequence[npt.NDArray[Any]]) -> None:
    """Put values into Keras variables."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def save(file: Path, identity: str, model: Any, progression: Progression) -> None:
    """Write the state of ``model``, its optimizer and the progression; whole or not at all."""
    head = {
        "identity": identity,
        "history": progression.history,
        "best_epoch": progression.best_epoch,
        "best_figure": progression.best_figure,
        "begins": progression.begins,
    }
    arrays: dict[str, Any] = {_HEAD: np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)}
    groups = {
        "model": values_of(model.variables),
        "optimizer": values_of(model.optimizer.variables),
        "best": progression.best_weights,
    }
    for name, values in groups.items():
        arrays |= {f"{name}-{i}": value for i, value in enumerate(values)}
    if progression.hard is not None:
        arrays["hard"] = progression.hard
    with atomic_path(file) as temporary:
        np.savez(temporary, **arrays)


def load(file: Path, identity: str) -> tuple[Progression, Arrays, Arrays] | None:
    """The progression, and the values of the model's and the optimizer's variables.

    None where there is no checkpoint, it is damaged, or it belongs to other settings or data:
    the training then begins anew.

    Raises:
        OSError: it cannot be read, which may pass; it is not thrown away for that.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        head = json.loads(arrays.pop(_HEAD).tobytes())
        if head["identity"] != identity:
            return None
        progression = Progression(
            history=list(head["history"]),
            best_epoch=int(head["best_epoch"]),
            best_figure=tuple(head["best_figure"]),
            best_weights=_group(arrays, "best"),
            begins=list(head["begins"]),
            hard=arrays.get("hard"),
        )
        return progression, _group(arrays, "model"), _group(arrays, "optimizer")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None  # damaged


def _group(arrays: dict[str, npt.NDArray[Any]], name: str) -> Arrays:
    count = sum(key.startswith(f"{name}-") for key in arrays)
    return [arrays[f"{name}-{i}"] for i in range(count)]
