"""The vectorised patient bootstrap against plainly repeating patients."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from nodulenet.evaluation import bootstrap
from nodulenet.evaluation.bootstrap import auc_bootstrap, auc_replicates, cluster_weights


def clustered(seed: int = 0, patients: int = 25) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), random.integers(1, 6, patients))
    labels = (random.random(patient.size) < 0.4).astype(int)
    scores = np.round(random.normal(labels, 1.0) + random.normal(0, 1, patients)[patient], 1)
    return labels, scores, patient


def plain_replicates(labels, scores, patient, n, seed):  # type: ignore[no-untyped-def]
    """Each resample written out row by row and given to scikit-learn."""
    result = []
    for _, weights in cluster_weights(patient.max() + 1, n, seed=seed):
        for drawn in weights.astype(int):
            rows = np.concatenate(
                [np.flatnonzero(patient == p) for p, k in enumerate(drawn) for _ in range(k)]
            )
            both = np.unique(labels[rows]).size == 2
            result.append(roc_auc_score(labels[rows], scores[rows]) if both else np.nan)
    return np.array(result)


@pytest.mark.parametrize("cells", [10**9, 0], ids=["matrix", "cumulative"])
def test_replicates_equal_resampling_row_by_row(
    cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "_MATRIX_CELLS", cells)
    monkeypatch.setattr(bootstrap, "_CHUNK_CELLS", 700)  # several chunks
    labels, scores, patient = clustered()
    other = np.round(scores + np.random.default_rng(1).normal(0, 1, scores.size), 1)
    got = auc_replicates(labels, [scores, other], patient, n_bootstrap=60, seed=5)
    # The chunk is chosen by what a resample costs, and a chunk's size does not change the draws.
    monkeypatch.setattr(bootstrap, "_CHUNK_CELLS", 10**6)
    np.testing.assert_allclose(got[0], plain_replicates(labels, scores, patient, 60, 5))
    np.testing.assert_allclose(got[1], plain_replicates(labels, other, patient, 60, 5))


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
