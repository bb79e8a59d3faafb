"""Whether an exported model answers as the Keras model does, how fast, and which one to take.

An export is never trusted without this: converters go wrong silently, and OpenVINO computes in
bfloat16 where nobody told it not to.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nodulenet.errors import UsageError
from nodulenet.inference.engines import BF16, ENGINES, F32, KERAS, Engine, Floats

TOLERANCES: Mapping[str, float] = {F32: 1e-4, BF16: 2e-2}
"""By precision: how far any probability of any patch may lie from that of Keras."""

FEATURE_TOLERANCES: Mapping[str, float] = {F32: 1e-3, BF16: 1e-1}
"""The same for what a bundle judges strangeness by, in root mean squares of Keras's features."""

# Nearer to 0 or 1, float32 probabilities have too few digits left for their logit.
_LOGIT_EDGE = 1e-4
# Engines whose speeds differ by less are called equally fast: timings repeat no better.
_AS_FAST = 0.9


@dataclass(frozen=True)
class ParityRow:
    """One engine in one precision against Keras, on the same patches.

    Attributes:
        engine: ``keras`` (the reference itself), ``onnx`` or ``openvino``.
        precision: ``f32`` or ``bf16``.
        rows: outputs compared: patches, times the models that saw each.
        largest_difference: of any probability; None where the engine gave values that are no
            numbers.
        largest_logit_difference: of log(p / (1 - p)), where both probabilities lie within
            1e-4 of neither 0 nor 1; None where none does.
        auc_before: of Keras, on the labels of the patches; None without labels of both kinds.
        auc_after: of the engine.
        tolerance: what ``largest_difference`` may be.
        patches_per_s: warm, in batches, on the machine of the report; None if not measured.
        largest_feature_difference: of any feature, in root mean squares of Keras's; None where
            the files have no features. 1e9 where they are no numbers.
    """

    engine: str
    precision: str
    rows: int
    largest_difference: float | None
    largest_logit_difference: float | None
    auc_before: float | None
    auc_after: float | None
    tolerance: float
    patches_per_s: float | None = None
    largest_feature_difference: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the engine may be used: every probability and feature within its tolerance."""
        features = self.largest_feature_difference
        if features is not None and features > FEATURE_TOLERANCES[self.precision]:
            return False
        return self.largest_difference is not None and self.largest_difference <= self.tolerance


@dataclass(frozen=True)
class ParityReport:
    """All engines of one model.

    Attributes:
        patches: how many, and what they are, in words.
        machine: the processor, with the number of threads, that ``patches_per_s`` was measured on.
        rows: Keras first.
    """

    patches: str
    machine: str
    rows: tuple[ParityRow, ...]

    def row(self, engine: str, precision: str = F32) -> ParityRow | None:
        """The row of an engine; None where it was not compared."""
        found = (r for r in self.rows if (r.engine, r.precision) == (engine, precision))
        return next(found, None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; ``passed`` is written for people and worked out anew when read."""
        rows = [{**asdict(row), "passed": row.passed} for row in self.rows]
        return {"patches": self.patches, "machine": self.machine, "rows": rows}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ParityReport:
        """What `to_dict` gave.

        Raises:
            KeyError, TypeError: it did not.
        """
        rows = ({k: v for k, v in row.items() if k != "passed"} for row in content["rows"])
        return cls(
            patches=str(content["patches"]),
            machine=str(content["machine"]),
            rows=tuple(ParityRow(**row) for row in rows),
        )


def check_parity(
    reference: Sequence[Floats],
    found: Sequence[Floats],
    *,
    engine: str,
    precision: str = F32,
    labels: npt.ArrayLike | None = None,
    tolerance: float | None = None,
    positive: Callable[[Floats], npt.NDArray[np.float64]] | None = None,
    patches_per_s: float | None = None,
    largest_feature_difference: float | None = None,
) -> ParityRow:
    """Compare an engine's outputs with those of Keras.

    Args:
        reference: Keras's probabilities; one array a group of patches (a fold): (models, n,
            classes), the models being those that the group is averaged over.
        found: the engine's, of the same shapes.
        engine: its name.
        precision: its precision.
        labels: 0 or 1 of all patches, group after group.
        tolerance: for ``largest_difference``. Defaults to that of the precision.
        positive: probability of label 1 (n,) from (n, classes). Defaults to the last class.
        patches_per_s: measured speed.
        largest_feature_difference: of :func:`feature_difference`. Defaults to no features.

    Raises:
        UsageError: shapes do not agree.
    """
    shapes = [tuple(np.shape(part)) for part in reference]
    if shapes != [tuple(np.shape(part)) for part in found] or any(len(s) != 3 for s in shapes):
        raise UsageError(
            f"parity of {engine}: outputs are {[tuple(np.shape(p)) for p in found]}, those of "
            f"Keras {shapes}; expected the same (models, patches, classes)"
        )
    before = _flat(reference)
    after = _flat(found)
    auc_before = auc_after = None
    finite = bool(np.isfinite(after).all())
    if labels is not None and finite:
        auc_before, auc_after = (_auc(part, labels, positive) for part in (reference, found))
    return ParityRow(
        engine=engine,
        precision=precision,
        rows=sum(shape[0] * shape[1] for shape in shapes),
        largest_difference=float(np.abs(after - before).max(initial=0.0)) if finite else None,
        largest_logit_difference=_logit_difference(before, after) if finite else None,
        auc_before=auc_before,
        auc_after=auc_after,
        tolerance=TOLERANCES[precision] if tolerance is None else tolerance,
        patches_per_s=patches_per_s,
        largest_feature_difference=largest_feature_difference,
    )


def feature_difference(reference: Floats, found: Floats) -> float:
    """How far features lie from Keras's: the largest, in root mean squares of Keras's.

    Args:
        reference: Keras's, (n, ...).
        found: the engine's, of the same shape.
    """
    if not np.isfinite(found).all() or found.shape != reference.shape:
        return 1e9  # JSON has no infinity
    before, after = np.asarray(reference, np.float64), np.asarray(found, np.float64)
    scale = float(np.sqrt(np.mean(before**2))) if before.size else 0.0
    return float(np.abs(after - before).max(initial=0.0)) / (scale or 1.0)


def choose_engine(available: Iterable[str], parity: ParityReport | None) -> str:
    """The engine to use when nobody says which: the fastest installed one that passed in float32.

    Speed is that of the report, measured once at export. Engines within a tenth of the fastest
    count as equally fast, and then openvino goes before onnx before keras, whose import alone takes
    seconds; so does an engine whose speed was not measured, after those whose was. Without a
    report, or where nothing passed, it is keras, which needs no proof.

    Args:
        available: names of the engines that are installed and have files.
        parity: the report of the model.

    Returns:
        Its name.
    """
    rows = {} if parity is None else {r.engine: r for r in parity.rows if r.precision == F32}
    there = set(available)
    passed = [n for n in ENGINES if n in there and n in rows and rows[n].passed]
    speeds = {name: rows[name].patches_per_s or 0.0 for name in passed}
    enough = _AS_FAST * max(speeds.values(), default=0.0)
    return next((name for name in passed if speeds[name] >= enough), KERAS)


def measure_speeds(
    engines: Mapping[str, Engine], inputs: Floats, *, seconds: float = 0.5, rounds: int = 3
) -> dict[str, float]:
    """Warm patches per second of each engine, taking turns.

    The best call of each counts, because the others measure what else the machine does.

    Args:
        engines: by any name.
        inputs: one batch (n, [z,] y, x, channels).
        seconds: of each turn, at least one call long. Defaults to 0.5.
        rounds: turns of each. Defaults to 3.
    """
    best = dict.fromkeys(engines, math.inf)
    for engine in engines.values():
        engine.predict(inputs)
    for _ in range(rounds):
        for name, engine in engines.items():
            until = time.perf_counter() + seconds
            while True:
                begin = time.perf_counter()
                engine.predict(inputs)
                end = time.perf_counter()
                best[name] = min(best[name], end - begin)
                if end >= until:
                    break
    return {name: len(inputs) / took for name, took in best.items()}


def _flat(groups: Sequence[Floats]) -> npt.NDArray[np.float64]:
    return np.concatenate([np.asarray(g, dtype=np.float64).ravel() for g in groups])


def _logit_difference(
    before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]
) -> float | None:
    inside = (np.minimum(before, after) >= _LOGIT_EDGE) & (
        np.maximum(before, after) <= 1 - _LOGIT_EDGE
    )
    if not inside.any():
        return None
    logits = (np.log(p[inside]) - np.log1p(-p[inside]) for p in (before, after))
    return float(np.abs(np.subtract(*logits)).max())


def _auc(
    groups: Sequence[Floats],
    labels: npt.ArrayLike,
    positive: Callable[[Floats], npt.NDArray[np.float64]] | None,
) -> float | None:
    # Imported here: choosing an engine needs no statistics.
    from nodulenet.evaluation.roc import auc

    y = np.asarray(labels)
    if len(np.unique(y)) < 2:
        return None
    scores = [
        np.mean([positive(one) if positive else one[:, -1] for one in group], axis=0)
        for group in groups
    ]
    return auc(y, np.concatenate(scores).astype(np.float64))
