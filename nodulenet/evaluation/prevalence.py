"""Probabilities moved to another share of positives."""

from __future__ import annotations

import numpy.typing as npt

from nodulenet.errors import UsageError
from nodulenet.evaluation.arrays import Floats
from nodulenet.evaluation.logistic import logit, sigmoid


def rebased(probabilities: npt.ArrayLike, *, trained: float, wanted: float) -> Floats:
    """Probabilities that hold where positives are as frequent as ``wanted``.

    The odds are multiplied by the ratio of the prior odds. That is right where positives and
    negatives look there as they do in the training and only their shares differ.

    Args:
        probabilities: Calibrated to ``trained``, any shape.
        trained: Share of positives that they are calibrated to, between 0 and 1.
        wanted: Share of positives where they are to hold, between 0 and 1.

    Returns:
        float64 of the input's shape; the order is kept.

    Raises:
        UsageError: a share that is not between 0 and 1.

    Source: Saerens M., Latinne P., Decaestecker C., Neural Computation 14:21-41, 2002, eq. 2.4.

    Example:
        >>> rebased([0.5], trained=0.5, wanted=0.1).round(6).tolist()
        [0.1]
    """
    for name, share in (("training prevalence", trained), ("prevalence", wanted)):
        if not 0 < share < 1:
            raise UsageError(f"{name} {share}: expected a share between 0 and 1, e.g. 0.1")
    return sigmoid(logit(probabilities) + logit(wanted) - logit(trained))
