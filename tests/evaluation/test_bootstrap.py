"""The vectorised patient bootstrap against plainly repeating patients."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation import bootstrap
from nodulenet.evaluation.bootstrap import (
    METRICS,
    RANK_METRICS,
    auc_bootstrap,
    auc_replicates,
    cluster_weights,
    metric_intervals,
    metric_replicates,
)
from nodulenet.evaluation.calibration import brier
from nodulenet.evaluation.interval import NO_SPREAD, percentile_interval
from nodulenet.evaluation.precision_recall import average_precision
from nodulenet.evaluation.roc import (
    partial_auc,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
)


def clustered(seed: int = 0, patients: int = 25) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), random.integers(1, 6, patients))
    labels = (random.random(patient.size) < 0.4).astype(int)
    scores = np.round(random.normal(labels, 1.0) + random.normal(0, 1, patients)[patient], 1)
    return labels, scores, patient


def resampled_rows(patient: np.ndarray, n: int, seed: int) -> Iterator[np.ndarray]:
    """Each resample written out: the numbers of its rows, as often as they were drawn."""
    for _, weights in cluster_weights(patient.max() + 1, n, seed=seed):
        for drawn in weights.astype(int):
            yield np.concatenate(
                [np.flatnonzero(patient == p) for p, k in enumerate(drawn) for _ in range(k)]
            )


def plain_replicates(labels, scores, patient, n, seed):  # type: ignore[no-untyped-def]
    """Each resample written out row by row and given to scikit-learn."""
    result = []
    for rows in resampled_rows(patient, n, seed):
        both = np.unique(labels[rows]).size == 2
        result.append(roc_auc_score(labels[rows], scores[rows]) if both else np.nan)
    return np.array(result)


def test_replicates_equal_resampling_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_CHUNK_CELLS", 2000)  # several chunks
    labels, scores, patient = clustered()
    other = np.round(scores + np.random.default_rng(1).normal(0, 1, scores.size), 1)
    got = auc_replicates(labels, [scores, other], patient, n_bootstrap=60, seed=5)
    # The chunk is chosen by what a resample costs, and a chunk's size does not change the draws.
    monkeypatch.setattr(bootstrap, "_CHUNK_CELLS", 10**6)
    np.testing.assert_allclose(got[0], plain_replicates(labels, scores, patient, 60, 5))
    np.testing.assert_allclose(got[1], plain_replicates(labels, other, patient, 60, 5))


@pytest.mark.parametrize("patients", [4, 25])
@pytest.mark.parametrize("decimals", [1, 12], ids=["ties", "no ties"])
@pytest.mark.parametrize(
    ("max_fpr", "specificity", "sensitivity"), [(0.1, 0.9, 0.9), (1.0, 0.0, 1.0), (0.34, 1.0, 0.0)]
)
def test_metrics_equal_resampling_row_by_row(
    patients: int,
    decimals: int,
    max_fpr: float,
    specificity: float,
    sensitivity: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bootstrap, "_CHUNK_CELLS", 2000)
    labels, scores, patient = clustered(2, patients)
    labels[np.argmax(scores)] = 0  # so that to call nothing positive is a point of its own
    scores = 1 / (1 + np.exp(-scores - np.random.default_rng(0).normal(0, 0.1, scores.size)))
    scores = np.round(scores, decimals)
    targets = {"max_fpr": max_fpr, "specificity": specificity, "sensitivity": sensitivity}
    got = metric_replicates(labels, scores, patient, METRICS, n_bootstrap=40, seed=5, **targets)
    monkeypatch.setattr(bootstrap, "_CHUNK_CELLS", 10**6)
    undefined = 0
    for index, rows in enumerate(resampled_rows(patient, 40, 5)):
        y, s = labels[rows], scores[rows]
        assert got["brier"][index] == pytest.approx(brier(y, s), abs=1e-12)
        if np.unique(y).size < 2:
            undefined += 1
            assert all(np.isnan(got[name][index]) for name in RANK_METRICS)
            continue
        expected = {
            "average_precision": average_precision(y, s),
            "partial_auc": partial_auc(y, s, max_fpr=max_fpr).standardized,
            "sensitivity_at_specificity": sensitivity_at_specificity(
                y, s, specificity=specificity
            ).confusion.sensitivity,
            "specificity_at_sensitivity": specificity_at_sensitivity(
                y, s, sensitivity=sensitivity
            ).confusion.specificity,
        }
        for name, value in expected.items():
            assert got[name][index] == pytest.approx(value, abs=1e-12), name
    assert undefined < 40


def test_metrics_and_aucs_share_their_resamples() -> None:
    labels, scores, patient = clustered()
    whole = metric_replicates(
        labels, scores, patient, ["partial_auc"], n_bootstrap=50, seed=5, max_fpr=1.0
    )
    np.testing.assert_allclose(
        whole["partial_auc"], auc_replicates(labels, scores, patient, n_bootstrap=50, seed=5)[0]
    )


def test_intervals_are_the_quantiles_of_the_replicates() -> None:
    labels, scores, patient = clustered()
    p = 1 / (1 + np.exp(-scores))
    intervals = metric_intervals(labels, p, patient, METRICS, n_bootstrap=200, seed=3, level=0.8)
    replicates = metric_replicates(labels, p, patient, METRICS, n_bootstrap=200, seed=3)
    assert list(intervals) == list(METRICS)
    for name, interval in intervals.items():
        low, high = np.nanquantile(replicates[name], [0.1, 0.9])
        assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))
        assert (interval.level, interval.method) == (0.8, "patient bootstrap")


def test_brier_needs_no_second_class_and_the_others_do() -> None:
    p = [0.9, 0.6, 0.8, 0.7]
    result = metric_intervals([1, 1, 1, 1], p, list("abcd"), ["brier"], n_bootstrap=300)
    assert result["brier"].low is not None
    assert result["brier"].low < np.mean((1 - np.array(p)) ** 2) < result["brier"].high
    with pytest.raises(PredictionsError, match="average_precision needs both classes"):
        metric_replicates([1, 1, 1, 1], p, list("abcd"), ["average_precision"])


@pytest.mark.parametrize(
    ("labels", "p", "patients", "note"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.7, 0.8], "abcd", "separated"),
        ([0, 1, 0, 1], [0.2, 0.1, 0.7, 0.8], "aaaa", "too few patients"),
        ([0, 1, 0, 1], [0.5] * 4, "abcd", "too few distinct scores"),
    ],
    ids=["separated", "one patient", "equal"],
)
def test_no_interval_of_no_width(
    labels: list[int], p: list[float], patients: str, note: str
) -> None:
    names = ["partial_auc", "sensitivity_at_specificity", "specificity_at_sensitivity"]
    intervals = metric_intervals(labels, p, list(patients), names, n_bootstrap=100)
    for interval in [*intervals.values(), auc_bootstrap(labels, p, list(patients))]:
        assert (interval.low, interval.high) == (None, None)
        assert note in interval.note
    if patients == "aaaa":
        alone = metric_intervals(labels, p, list(patients), ["brier"], n_bootstrap=100)["brier"]
        assert "too few patients" in alone.note


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"metrics": ["auc"]}, UsageError, "metric 'auc' is unknown; use any of average_precision"),
        ({"max_fpr": 0.0}, UsageError, r"max_fpr 0\.0"),
        ({"specificity": 1.2}, UsageError, r"specificity 1\.2"),
        ({"sensitivity": -0.1}, UsageError, r"sensitivity -0\.1"),
        ({"probabilities": [0.1, 1.2]}, PredictionsError, "outside 0..1"),
        ({"probabilities": [0.1, np.nan]}, PredictionsError, "not a finite number"),
        ({"patients": ["a"]}, PredictionsError, r"patients must have one value .* \(1,\)"),
        ({"patients": ["a", None]}, PredictionsError, "patients, position 1: missing"),
        ({"patients": [1.0, np.nan]}, PredictionsError, "patients, position 1: missing"),
    ],
)
def test_bad_input_is_refused(changes, error, words) -> None:  # type: ignore[no-untyped-def]
    arguments = {
        "labels": [0, 1],
        "probabilities": [0.1, 0.2],
        "patients": ["a", "b"],
        "metrics": METRICS,
    }
    with pytest.raises(error, match=words):
        metric_replicates(**(arguments | changes))


def test_any_scores_will_do_where_the_brier_score_is_not_asked_for() -> None:
    labels, scores, patient = clustered()
    low = metric_replicates(labels, scores, patient, RANK_METRICS, n_bootstrap=20)
    monotone = metric_replicates(labels, np.exp(scores), patient, RANK_METRICS, n_bootstrap=20)
    for name in RANK_METRICS:
        np.testing.assert_allclose(low[name], monotone[name])


def test_memory_stays_bounded_however_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lives at once is of the order of a chunk, not of rows times resamples."""
    random = np.random.default_rng(0)
    labels = random.random(20_000) < 0.5
    p = random.random(20_000)
    patient = random.integers(0, 500, 20_000)
    monkeypatch.setattr(bootstrap, "_CHUNK_CELLS", 200_000)
    metric_replicates(labels, p, patient, METRICS, n_bootstrap=1)  # imports
    tracemalloc.start()
    metric_replicates(labels, p, patient, METRICS, n_bootstrap=200)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8e6 < 20_000 * 200 * 8


def test_a_resample_without_a_class_has_no_auc() -> None:
    # One patient holds all the positives: it is absent from about a third of the resamples.
    labels = [1, 1, 0, 0, 0]
    replicates = auc_replicates(labels, [3, 1, 1, 2, 0], list("aabcd"), n_bootstrap=400)[0]
    share = np.isnan(replicates).mean()
    assert share == pytest.approx(0.75**4, abs=0.08)
    interval = auc_bootstrap(labels, [3, 1, 1, 2, 0], list("aabcd"), n_bootstrap=400)
    assert "had no result" in interval.note


def test_the_seed_decides_and_nothing_else() -> None:
    labels, scores, patient = clustered()
    first = auc_bootstrap(labels, scores, patient, n_bootstrap=200, seed=1)
    assert first == auc_bootstrap(labels, scores, patient, n_bootstrap=200, seed=1)
    assert first != auc_bootstrap(labels, scores, patient, n_bootstrap=200, seed=2)
    # Names of patients do not matter beyond telling them apart, nor does the order of rows.
    names = np.array([f"LIDC-{p:04d}" for p in patient])
    order = np.random.default_rng(0).permutation(patient.size)
    again = auc_bootstrap(labels[order], scores[order], names[order], n_bootstrap=200, seed=1)
    assert again.low == pytest.approx(first.low)


def test_whole_patients_are_drawn() -> None:
    # Ten copies of every row within its patient add no information: the interval stays.
    labels, scores, patient = clustered(3)
    once = auc_bootstrap(labels, scores, patient, n_bootstrap=500)
    tenfold = auc_bootstrap(
        np.tile(labels, 10), np.tile(scores, 10), np.tile(patient, 10), n_bootstrap=500
    )
    assert tenfold.low == pytest.approx(once.low)
    assert tenfold.high == pytest.approx(once.high)


@pytest.mark.parametrize(
    ("labels", "scores", "patients"),
    [([0, 0, 1, 1], [1, 2, 3, 4], "abcd"), ([0, 1], [0, 1], "aa")],
)
def test_separated_classes_and_single_patients_get_no_interval(labels, scores, patients) -> None:  # type: ignore[no-untyped-def]
    interval = auc_bootstrap(labels, scores, list(patients), n_bootstrap=100)
    assert interval.low is None
    assert interval.high is None
    assert interval.note


def test_coverage_of_the_interval_where_patients_matter() -> None:
    """A nominal 95 % interval covers the true AUC about so often, with clustered rows."""
    from scipy.stats import norm

    truth = norm.cdf(1.0 / np.sqrt(2 * (1 + 0.5)))
    covered = 0
    for seed in range(120):
        random = np.random.default_rng(seed)
        patient = np.repeat(np.arange(60), 3)
        labels = np.tile([0, 0, 1], 60)
        shared = random.normal(0, np.sqrt(0.5), 60)[patient]
        scores = labels + random.normal(0, 1, 180) + shared
        interval = auc_bootstrap(labels, scores, patient, n_bootstrap=300, seed=seed)
        # Pairs within a patient share its effect and are a sixtieth of all: within the noise.
        covered += int(interval.low <= truth <= interval.high)
    assert 0.88 <= covered / 120 <= 1.0


def test_one_rule_for_replicates_without_spread() -> None:
    for value in (0.0, 0.3, 1.0):
        # Rounding is no spread, and undefined replicates do not hide that there is none.
        replicates = np.array([value, value + 1e-16, np.nan, value])
        interval = percentile_interval(replicates, method="m")
        assert (interval.low, interval.high, interval.note) == (None, None, NO_SPREAD)
    moved = percentile_interval(np.array([0.3, 0.3, 0.3, 0.4]), method="m")
    assert moved.low == pytest.approx(0.3)


def test_everybody_of_a_study_is_drawn_from() -> None:
    """Rows of some patients, resampled as part of all: those of absent patients count nothing."""
    random = np.random.default_rng(8)
    labels, scores = random.integers(0, 2, 60), random.random(60)
    patients = np.array([f"p{i % 20:02d}" for i in range(60)])
    part = patients < "p15"
    of_all = auc_replicates(
        labels[part], scores[part], patients[part], everybody=patients, n_bootstrap=50
    )
    by_hand = []
    for _, weights in cluster_weights(20, 50, seed=0):
        for drawn in weights:
            often = drawn[[int(p[1:]) for p in patients[part]]]
            by_hand.append(roc_auc_score(labels[part], scores[part], sample_weight=often))
    np.testing.assert_allclose(of_all[0], by_hand)
    with pytest.raises(PredictionsError, match="p00 is not among everybody"):
        auc_replicates(labels[part], scores[part], patients[part], everybody=["p01"])
