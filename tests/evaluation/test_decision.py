"""Net benefit: cases counted by hand, the formula of the paper, and resamples written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation import decision_curve
from nodulenet.evaluation.bootstrap import cluster_weights
from nodulenet.plots import decision_curve_figure, figure_numbers


def test_a_case_that_anyone_can_count() -> None:
    # Ten findings, four positive. At 20 % (one miss = four alarms) seven are called: 4 right and
    # 3 alarms, 4/10 - 3/10 * 1/4. At 50 % four: 3 right, 1 alarm, 3/10 - 1/10 * 1.
    labels = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    p = [0.9, 0.8, 0.5, 0.2, 0.6, 0.3, 0.2, 0.1, 0.1, 0.0]
    curve = decision_curve(labels, p, thresholds=[0.2, 0.5, 0.95], n_bootstrap=0)
    assert curve.net_benefit.tolist() == pytest.approx([0.4 - 0.075, 0.2, 0.0])
    # All: 4/10 - 6/10 * 1/4 and 4/10 - 6/10; none: 0, which is the better one from 50 % on.
    assert curve.treat_all.tolist() == pytest.approx([0.25, -0.2, 0.4 - 0.6 * 19])
    assert curve.gain.tolist() == pytest.approx([0.075, 0.2, 0.0])
    assert np.isnan(curve.low).all()
    table = curve.table()
    assert table["alarms_for_a_miss"].tolist() == pytest.approx([4, 1, 1 / 19])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=40).filter(
        lambda rows: len({label for label, _ in rows}) == 2
    ),
    st.floats(0.01, 0.99),
)
def test_it_is_the_formula_at_any_prevalence(rows: list[tuple[bool, int]], share: float) -> None:
    labels = np.array([label for label, _ in rows])
    p = np.array([score for _, score in rows]) / 20
    thresholds = [0.05, 0.25, 0.3, 0.75, 0.9]
    here = decision_curve(labels, p, thresholds=thresholds, n_bootstrap=0)
    there = decision_curve(labels, p, thresholds=thresholds, n_bootstrap=0, prevalence=share)
    for index, t in enumerate(thresholds):
        tn, fp, fn, tp = confusion_matrix(labels, p >= t, labels=[False, True]).ravel()
        assert here.net_benefit[index] == pytest.approx(tp / len(p) - fp / len(p) * t / (1 - t))
        sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
        expected = sensitivity * share - (1 - specificity) * (1 - share) * t / (1 - t)
        assert there.net_benefit[index] == pytest.approx(expected)
        assert there.treat_all[index] == pytest.approx(share - (1 - share) * t / (1 - t))


@pytest.mark.parametrize("prevalence", [None, 0.05])
def test_a_resample_is_its_patients_written_out(prevalence: float | None) -> None:
    random = np.random.default_rng(0)
    labels, p = random.random(60) < 0.4, random.random(60).round(1)
    patients = random.integers(0, 12, 60)
    curve = decision_curve(
        labels, p, patients, thresholds=[0.1, 0.5], prevalence=prevalence, n_bootstrap=40, seed=3
    )
    ((_, weights),) = cluster_weights(12, 40, seed=3)
    benefits, gains = [], []
    for weight in weights:
        drawn = np.repeat(np.arange(60), weight[patients].astype(int))
        one = decision_curve(
            labels[drawn], p[drawn], thresholds=[0.1, 0.5], prevalence=prevalence, n_bootstrap=0
        )
        benefits.append(one.net_benefit)
        gains.append(one.net_benefit - np.maximum(one.treat_all, 0))
    low, high = np.quantile(benefits, [0.025, 0.975], axis=0)
    np.testing.assert_allclose((curve.low, curve.high), (low, high), atol=1e-12)
    low, high = np.quantile(gains, [0.025, 0.975], axis=0)
    np.testing.assert_allclose((curve.gain_low, curve.gain_high), (low, high), atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"thresholds": [0.0, 0.5]}, "rising probabilities between 0 and 1"),
        ({"thresholds": [0.5, 0.2]}, "rising"),
        ({"prevalence": 1.0}, "prevalence 1.0"),
        ({"level": 95}, "level=95"),
    ],
)
def test_impossible_wishes_are_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        decision_curve([0, 1], [0.1, 0.9], **arguments)  # type: ignore[arg-type]
    with pytest.raises(PredictionsError, match="both classes"):
        decision_curve([1, 1], [0.1, 0.9])


def test_the_figure_shows_models_beside_calling_all_and_none() -> None:
    random = np.random.default_rng(1)
    labels = random.random(200) < 0.3
    curves = {
        name: decision_curve(labels, np.clip(labels * gain + random.random(200) * 0.6, 0, 1))
        for name, gain in (("V1", 0.4), ("size alone", 0.1))
    }
    figure = decision_curve_figure(curves, muted=["size alone"])
    drawn = figure_numbers(figure)
    lines = drawn[drawn["kind"] == "line"].groupby("series", sort=False)["y"]
    assert [name for name, _ in lines] == [
        "V1",
        "size alone",
        "call all positive",
        "call none positive",
    ]
    assert lines.get_group("V1").tolist() == curves["V1"].net_benefit.tolist()
    assert lines.get_group("call all positive").tolist() == curves["V1"].treat_all.tolist()
    elsewhere = decision_curve(labels, labels * 0.9, prevalence=0.1, n_bootstrap=0)
    with pytest.raises(UsageError, match=r"at a prevalence of .* and 'B' at 0\.1"):
        decision_curve_figure({"A": curves["V1"], "B": elsewhere})
    with pytest.raises(UsageError, match="no curve"):
        decision_curve_figure({})
