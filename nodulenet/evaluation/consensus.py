"""What several readers say together: the median of their ratings, with a middle left open.

A reader who is measured against a consensus that holds his or her own rating is helped by it. So
readers are measured against the consensus of the *others*, and so is the model beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from nodulenet.errors import UsageError
from nodulenet.evaluation.arrays import shown
from nodulenet.evaluation.ratings import Ratings

POSITIVE, NEGATIVE = "positive", "negative"
INDETERMINATE, TOO_FEW = "indeterminate", "too few readers"


@dataclass(frozen=True, kw_only=True)
class ConsensusRule:
    """When the median of ratings is positive, negative or neither.

    The median of an even number of ratings is the mean of the middle two, so 2.5 and 3.5 occur.
    What lies between the limits is indeterminate and is left out, never rounded to a side.

    Attributes:
        negative_up_to: Highest median that is negative. Defaults to 2.
        positive_from: Lowest median that is positive. Defaults to 4.
        fewest: Fewest ratings that make a consensus. Defaults to 2.

    Raises:
        UsageError: limits that meet or cross, or fewer than one rating.
    """

    negative_up_to: float = 2.0
    positive_from: float = 4.0
    fewest: int = 2

    def __post_init__(self) -> None:
        if not self.negative_up_to < self.positive_from:
            raise UsageError(
                f"consensus: negative up to {self.negative_up_to:g} and positive from "
                f"{self.positive_from:g}; expected the first below the second, e.g. 2 and 4"
            )
        if self.fewest < 1:
            raise UsageError(f"consensus: fewest is {self.fewest}; expected 1 reader or more")

    def labels(self, values: pd.Series[float]) -> pd.Series[float]:
        """1 positive, 0 negative, NaN indeterminate or unknown."""
        label = pd.Series(np.nan, index=values.index)
        label[values <= self.negative_up_to] = 0.0
        label[values >= self.positive_from] = 1.0
        return label


def reader_consensus(
    ratings: Ratings, rule: ConsensusRule | None = None, *, without: str | None = None
) -> pd.DataFrame:
    """The consensus of each finding.

    Args:
        ratings: Of :func:`nodulenet.evaluation.ratings.read_ratings`.
        rule: When a median is positive or negative. Defaults to up to 2 and from 4 on.
        without: A reader whose ratings are left out. Defaults to None: all count.

    Returns:
        Indexed by ``finding_id``: ``readers`` (ratings that went in), ``median`` (NaN without
        one), ``label`` (1, 0 or NaN) and ``state``: ``positive``, ``negative``,
        ``indeterminate`` or ``too few readers``.

    Raises:
        UsageError: there is no such reader.

    Example:
        >>> from nodulenet.evaluation.ratings import read_ratings
        >>> table = pd.DataFrame({"finding_id": ["f"], "a": [5], "b": [2], "c": [1]})
        >>> ratings = read_ratings(table, readers=["a", "b", "c"])
        >>> reader_consensus(ratings, without="a")["median"].item()
        1.5
    """
    rule = rule or ConsensusRule()
    table = ratings.table
    if without is not None:
        if without not in table.columns:
            raise UsageError(
                f"consensus: there is no reader {shown(without)} (readers: "
                f"{', '.join(ratings.readers)}); name one of them"
            )
        table = table.drop(columns=without)
    readers, median = table.notna().sum(axis=1), table.median(axis=1)
    enough = readers >= rule.fewest
    label = rule.labels(median.where(enough))
    state = pd.Series(INDETERMINATE, index=table.index)
    state[label == 1], state[label == 0], state[~enough] = POSITIVE, NEGATIVE, TOO_FEW
    return pd.DataFrame({"readers": readers, "median": median, "label": label, "state": state})
