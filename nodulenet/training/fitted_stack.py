"""A fitted stack as plain numbers, so that a bundle can carry it and new findings can be asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.evaluation.logistic import sigmoid

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NumberTerm:
    """A number, standardised.

    Attributes:
        column: name in the table of covariates, ``log`` in front where it is a logarithm.
        fill: what stands in for a missing one.
        mean: of the fitted part.
        scale: its standard deviation.
        weight: on the logit.
    """

    column: str
    fill: float
    mean: float
    scale: float
    weight: float

    def of(self, table: pd.DataFrame) -> Floats:
        values = table[self.column].to_numpy(dtype=np.float64)
        values = np.where(np.isnan(values), self.fill, values)
        return np.asarray(self.weight * (values - self.mean) / self.scale, dtype=np.float64)


@dataclass(frozen=True)
class WordTerm:
    """Words, a weight each.

    Attributes:
        column: name in the table of covariates.
        weights: by word; rare words and those never seen have ``other``.
        other: their weight.
    """

    column: str
    weights: Mapping[str, float]
    other: float

    def of(self, table: pd.DataFrame) -> Floats:
        weights = [self.weights.get(str(word), self.other) for word in table[self.column]]
        return np.array(weights, dtype=np.float64)


@dataclass(frozen=True)
class FittedStack:
    """``sigmoid((1 + departure) * logit + intercept + covariates)``.

    Attributes:
        intercept: added to the logit.
        departure: of the network's slope from 1.
        numbers: the covariates that are numbers.
        words: those that are words.
    """

    intercept: float
    departure: float
    numbers: tuple[NumberTerm, ...]
    words: tuple[WordTerm, ...]

    def apply(self, logits: npt.ArrayLike, covariates: pd.DataFrame) -> Floats:
        """Probabilities of the stack: float64 (n,).

        Args:
            logits: of the network's probabilities, shape (n,).
            covariates: of :func:`nodulenet.training.covariates.covariates`, n rows.
        """
        total = (1 + self.departure) * np.asarray(logits, dtype=np.float64) + self.intercept
        total = total + sum(n.of(covariates) for n in self.numbers)
        return sigmoid(total + sum(w.of(covariates) for w in self.words))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        content = asdict(self)
        content["words"] = [
            {"column": w.column, "weights": dict(w.weights), "other": w.other} for w in self.words
        ]
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> FittedStack:
        """The inverse of :meth:`to_dict`; KeyError, TypeError or ValueError on what it is not."""
        return cls(
            intercept=float(content["intercept"]),
            departure=float(content["departure"]),
            numbers=tuple(NumberTerm(**term) for term in content["numbers"]),
            words=tuple(WordTerm(**term) for term in content["words"]),
        )
