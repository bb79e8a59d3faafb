"""Operating points by hand and against all thresholds tried one by one."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.confusion import confusion
from nodulenet.evaluation.operating import operating_point

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=30)


def split(rows: list[tuple[bool, int]]) -> tuple[np.ndarray, np.ndarray]:
    labels = np.array([label for label, _ in rows])
    assume(0 < labels.sum() < labels.size)
    return labels, np.array([score for _, score in rows]) / 10


def all_thresholds(labels: np.ndarray, scores: np.ndarray) -> list[tuple[float, float, float]]:
    """Sensitivity and specificity at every threshold, and at one above all scores."""
    result = []
    for threshold in [*np.unique(scores), 2.0]:
        table = confusion(labels, scores, threshold)
        assert table.sensitivity is not None
        assert table.specificity is not None
        result.append((threshold, table.sensitivity, table.specificity))
    return result


@given(rows=ROWS)
def test_youden_is_the_best_of_all_thresholds(rows: list[tuple[bool, int]]) -> None:
    labels, scores = split(rows)
    best = max(a + b for _, a, b in all_thresholds(labels, scores))
    equal = [t for t in all_thresholds(labels, scores) if t[1] + t[2] > best - 1e-9]
    point = operating_point(labels, scores)
    assert point.threshold == min(t for t, _, _ in equal)
    assert point.chosen_on.sensitivity == max(a for _, a, _ in equal)


@given(rows=ROWS, target=st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]))
def test_targets_are_reached_with_the_best_of_the_other(
    rows: list[tuple[bool, int]], target: float
) -> None:
    labels, scores = split(rows)
    tried = all_thresholds(labels, scores)
    sensitive = operating_point(labels, scores, kind="sensitivity", target=target).chosen_on
    assert sensitive.sensitivity is not None
    assert sensitive.sensitivity >= target - 1e-9
    assert sensitive.specificity == max(b for _, a, b in tried if a >= target - 1e-9)
    specific = operating_point(labels, scores, kind="specificity", target=target).chosen_on
    assert specific.specificity is not None
    assert specific.specificity >= target - 1e-9
    assert specific.sensitivity == max(a for _, a, b in tried if b >= target - 1e-9)


@given(
    rows=ROWS,
    ratio=st.sampled_from([0.1, 0.5, 1.0, 3.0, 10.0, 1000.0]),
    prevalence=st.sampled_from([None, 0.01, 0.3, 0.5, 0.97]),
)
def test_cost_is_the_least_of_all_thresholds(
    rows: list[tuple[bool, int]], ratio: float, prevalence: float | None
) -> None:
    labels, scores = split(rows)
    share = labels.mean() if prevalence is None else prevalence
    costs = [
        (ratio * share * (1 - a) + (1 - share) * (1 - b), a)
        for _, a, b in all_thresholds(labels, scores)
    ]
    least = min(cost for cost, _ in costs)
    point = operating_point(labels, scores, kind="cost", target=ratio, prevalence=prevalence)
    # Of equally cheap ones the most sensitive.
    assert point.chosen_on.sensitivity == max(a for cost, a in costs if cost <= least + 1e-12)
    assert point.prevalence == pytest.approx(share)
    assert math.isfinite(point.threshold)


def test_cost_by_hand() -> None:
    labels, scores = [0, 0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4, 0.5]
    # Called at >= 0.5: one missed, no alarm. At >= 0.3: none missed, one alarm.
    assert operating_point(labels, scores, kind="cost", target=0.9).threshold == 0.5
    assert operating_point(labels, scores, kind="cost", target=1.1).threshold == 0.3
    assert operating_point(labels, scores, kind="cost", target=1).threshold == 0.3  # equal
    # In a screening where 1 in 100 is positive, alarms outweigh what is missed:
    # at >= 0.5 10 * 0.01 * 0.5 = 0.05, at >= 0.3 0.99 / 3 = 0.33.
    rare = operating_point(labels, scores, kind="cost", target=10, prevalence=0.01)
    assert rare.threshold == 0.5


def test_costs_that_differ_by_rounding_alone_are_equal() -> None:
    # At 0.6 a miss costs 2 * 0.6 / 3 = 0.4 and an alarm 0.4 / 2 = 0.2: one miss at >= 0.4 is as
    # dear as two alarms at >= 0.1.
    point = operating_point(
        [1, 0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.5], kind="cost", target=2, prevalence=0.6
    )
    assert point.threshold == 0.1


def test_to_call_nothing_positive_can_be_cheapest() -> None:
    # The highest score is a negative, and a miss costs a tenth of an alarm.
    labels, scores = [0, 1, 0, 1], [1.0, 0.6, 0.5, 0.4]
    point = operating_point(labels, scores, kind="cost", target=0.1)
    assert point.threshold == np.nextafter(1.0, 2.0)
    assert point.chosen_on.sensitivity == 0.0
    assert point.chosen_on.specificity == 1.0
    # And where a miss is dear everything is called.
    assert operating_point(labels, scores, kind="cost", target=1e6).threshold == 0.4


def test_equal_scores_allow_all_or_nothing() -> None:
    labels, scores = [0, 1, 1], [0.5] * 3
    assert operating_point(labels, scores).threshold == 0.5
    assert operating_point(labels, scores, kind="sensitivity", target=0.5).threshold == 0.5
    assert operating_point(labels, scores, kind="specificity", target=0.5).threshold > 0.5
    assert operating_point(labels, scores, kind="cost", target=1).threshold == 0.5
    assert operating_point(labels, scores, kind="cost", target=0.1).threshold > 0.5


def test_what_the_text_says() -> None:
    labels, scores = [0, 0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4, 0.5]
    cost = operating_point(labels, scores, kind="cost", target=10, prevalence=0.05)
    assert cost.meaning == (
        "least expected cost where a missed positive costs as much as 10 false alarms, "
        "at a prevalence of 5 %"
    )
    content = cost.to_dict()
    assert content["prevalence"] == 0.05
    assert content["meaning"] == cost.meaning
    json.dumps(content, allow_nan=False)
    assert "prevalence" not in operating_point(labels, scores).to_dict()
    assert "Youden" in operating_point(labels, scores).meaning
    for kind in ("sensitivity", "specificity"):
        point = operating_point(labels, scores, kind=kind, target=0.95)  # type: ignore[arg-type]
        assert f"{kind} of at least 95 %" in point.meaning


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "best"}, "kind 'best' is unknown; use one of youden"),
        ({"kind": "sensitivity"}, "target None"),
        ({"kind": "specificity", "target": 1.1}, r"target 1\.1"),
        ({"kind": "youden", "target": 0.5}, r"target 0\.5"),
        ({"kind": "cost"}, "target None; give what a missed positive costs"),
        ({"kind": "cost", "target": 0}, "target 0;"),
        ({"kind": "cost", "target": -3}, "target -3;"),
        ({"kind": "cost", "target": math.inf}, "target inf;"),
        ({"kind": "cost", "target": math.nan}, "target nan;"),
        ({"kind": "cost", "target": 2, "prevalence": 0.0}, r"prevalence 0\.0"),
        ({"kind": "cost", "target": 2, "prevalence": 1.0}, r"prevalence 1\.0"),
        ({"kind": "cost", "target": 2, "prevalence": math.nan}, "prevalence nan"),
        ({"kind": "youden", "prevalence": 0.1}, "only kind 'cost' takes one"),
    ],
)
def test_wishes_that_are_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        operating_point([0, 1], [0.1, 0.9], **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("labels", "scores", "words"),
    [
        ([1, 1], [0.1, 0.2], "both classes"),
        ([0, 1], [0.1, math.nan], "probabilities, position 1"),
        ([0, 1], [0.1], "expected shape"),
    ],
)
def test_rows_that_are_refused(labels: list[int], scores: list[float], words: str) -> None:
    with pytest.raises(PredictionsError, match=words):
        operating_point(labels, scores, kind="cost", target=2)
