"""Targets: ratings as probabilities, classes, and how outputs become one probability."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nodulenet.config.schema import ClassTarget, SoftTarget
from nodulenet.errors import FindingsError
from nodulenet.training.targets import make_targets, outputs_of, positive_probability

SOFT = SoftTarget(kind="soft", column="rating", low=1, high=5)
CLASSES = ClassTarget(
    kind="classes",
    column="rating",
    classes=[[1.0, 2.0], [2.25, 3.75], [4.0, 5.0]],
    negative=[0],
    positive=[2],
)


def findings(**columns: list[object]) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    table = pd.DataFrame({"finding_id": [f"f{i}" for i in range(count)], **columns})
    return table.assign(label=table["label"].astype("Int64"))


def test_labels_are_learned_as_they_are() -> None:
    found = make_targets(findings(label=[0, 1, pd.NA]), None)
    np.testing.assert_array_equal(found.values[:2], [[1, 0], [0, 1]])
    assert found.known.tolist() == [True, True, False]
    assert found.positive.tolist() == [False, True, False]


def test_a_rating_is_a_probability_and_an_unlabelled_one_is_learned_too() -> None:
    table = findings(label=[0, 1, pd.NA, 1, pd.NA], rating=[0.5, 4.5, 3, None, None])
    found = make_targets(table, SOFT)
    np.testing.assert_allclose(found.values[:4, 1], [0, 0.875, 0.5, 1])
    np.testing.assert_allclose(found.values[:4].sum(axis=1), 1)
    assert found.known.tolist() == [True, True, True, True, False]
    assert found.positive.tolist() == [False, True, True, True, False]
    assert found.notes == ("1 findings have a label and no rating: they learn the label",)


def test_several_classes_and_their_probability_of_the_label() -> None:
    table = findings(label=[0, 1, pd.NA, 1], rating=[1.5, 5, 3, 3.9])
    found = make_targets(table, CLASSES)
    np.testing.assert_array_equal(found.values[:3], np.eye(3)[[0, 2, 1]])
    assert found.known.tolist() == [True, True, True, False]
    assert "1 labelled findings are in no class" in found.notes[0]
    assert outputs_of(CLASSES) == 3
    outputs = np.array([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0], [0.6, 0.4, 0.0]])
    np.testing.assert_allclose(positive_probability(outputs, CLASSES), [0.6, 0.5, 0.0])
    np.testing.assert_allclose(positive_probability(outputs[:, 1:], None), outputs[:, 2])


@pytest.mark.parametrize(
    ("rating", "target", "expected"),
    [
        ([1, "high"], SOFT, "finding 'f1' has rating=high, expected a number"),
        ([1, 2], SOFT.model_copy(update={"column": "none"}), "'none' is no column"),
        (
            [1, 4],
            CLASSES.model_copy(update={"classes": [[1.0, 4.0], [4.0], [5.0]]}),
            r"finding 'f1' has rating=4, which is in classes \[0, 1\]",
        ),
    ],
)
def test_what_is_no_target_is_named(
    rating: list[object], target: SoftTarget | ClassTarget, expected: str
) -> None:
    with pytest.raises(FindingsError, match=expected):
        make_targets(findings(label=[0, 1], rating=rating), target)
