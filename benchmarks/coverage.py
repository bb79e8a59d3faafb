"""How often the intervals of the report hold the truth, by simulation.

    python benchmarks/coverage.py            1000 data sets each; about five minutes on one core
    python benchmarks/coverage.py --quick    100 data sets each

Patients have 1 to several nodules (1 + Poisson). Each label is positive with its patient's own
probability, drawn from a Beta distribution; each score is the label's shift plus a patient's
effect plus noise. The intraclass correlation (ICC) is that of both: of labels and of scores within
a class. Scores of a class are standard normal apart from the shift, so what is estimated is known:
the AUC of a positive and a negative of different patients is Phi(shift / sqrt 2); the average
precision and the Brier score of the posterior probability are integrals over one number; the
sensitivity at a fixed threshold and at a fixed specificity are normal probabilities.

DeLong's and Wilson's intervals take findings as independent. The bootstrap draws whole patients.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.integrate import quad
from scipy.special import expit, logit
from scipy.stats import norm

from nodulenet.evaluation.bootstrap import auc_bootstrap, metric_intervals
from nodulenet.evaluation.confusion import confusion
from nodulenet.evaluation.interval import Interval, wilson
from nodulenet.evaluation.roc import delong

SHIFT = 1.5
PREVALENCE = 0.35
NODULES = 2.5  # per patient, on average
THRESHOLD = SHIFT / 2
SPECIFICITY = 0.9
MAX_FPR = 0.1
LEVEL = 0.95
PATIENTS = (60, 150, 400)
ICCS = (0.0, 0.3, 0.6)
METRICS = ("average_precision", "brier", "partial_auc", "sensitivity_at_specificity")
NAMES = {
    "delong": "AUC, DeLong",
    "auc": "AUC, patient bootstrap",
    "average_precision": "average precision, patient bootstrap",
    "partial_auc": f"partial AUC to {MAX_FPR}, patient bootstrap",
    "sensitivity_at_specificity": f"sensitivity at specificity {SPECIFICITY}, patient bootstrap",
    "brier": "Brier score, patient bootstrap",
    "wilson": "sensitivity at a fixed threshold, Wilson",
}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DataSet:
    """Findings of all patients: label, score, posterior probability and patient of each."""

    labels: npt.NDArray[np.bool_]
    scores: Floats
    probabilities: Floats
    patients: npt.NDArray[np.int64]


def posterior(score: float | Floats) -> Floats:
    """Probability of a positive label given the score alone."""
    return np.asarray(expit(logit(PREVALENCE) + SHIFT * (score - SHIFT / 2)))


def draw(patients: int, icc: float, rng: np.random.Generator) -> DataSet:
    """A data set with both classes; at these sizes another draw is all but never needed."""
    while True:
        patient = np.repeat(np.arange(patients), 1 + rng.poisson(NODULES - 1, patients))
        if icc:
            total = 1 / icc - 1  # of the Beta's parameters
            own = rng.beta(PREVALENCE * total, (1 - PREVALENCE) * total, patients)[patient]
        else:
            own = np.full(patient.size, PREVALENCE)
        labels = rng.random(patient.size) < own
        if 0 < labels.sum() < labels.size:
            break
    effect = rng.normal(0, np.sqrt(icc), patients)[patient]
    scores = SHIFT * labels + effect + rng.normal(0, np.sqrt(1 - icc), patient.size)
    return DataSet(labels, scores, posterior(scores), patient)


def truths() -> dict[str, float]:
    """What each interval is to hold; the same for every number of patients and ICC."""
    auc = float(norm.cdf(SHIFT / np.sqrt(2)))

    def over(function: Callable[[float], float]) -> float:
        return float(quad(function, -8, 8 + SHIFT, epsabs=1e-10)[0])

    def precision(score: float) -> float:
        right = PREVALENCE * norm.sf(score - SHIFT)
        return float(right / (right + (1 - PREVALENCE) * norm.sf(score)))

    def loss(score: float) -> float:
        p = float(posterior(score))
        positive = PREVALENCE * norm.pdf(score - SHIFT) * (1 - p) ** 2
        return float(positive + (1 - PREVALENCE) * norm.pdf(score) * p**2)

    area = float(quad(lambda x: norm.cdf(norm.ppf(x) + SHIFT), 0, MAX_FPR)[0])
    chance = MAX_FPR**2 / 2
    return {
        "delong": auc,
        "auc": auc,
        "average_precision": over(lambda s: norm.pdf(s - SHIFT) * precision(s)),
        "partial_auc": 0.5 * (1 + (area - chance) / (MAX_FPR - chance)),
        "sensitivity_at_specificity": float(norm.cdf(SHIFT - norm.ppf(SPECIFICITY))),
        "brier": over(loss),
        "wilson": float(norm.sf(THRESHOLD - SHIFT)),
    }


def intervals(data: DataSet, n_bootstrap: int, seed: int) -> dict[str, Interval]:
    """All intervals of one data set."""
    count, total = confusion(data.labels, data.scores, THRESHOLD).counts_of("sensitivity")
    return {
        "delong": delong(data.labels, data.scores).interval(level=LEVEL),
        "auc": auc_bootstrap(
            data.labels,
            data.scores,
            data.patients,
            n_bootstrap=n_bootstrap,
            seed=seed,
            level=LEVEL,
        ),
        **metric_intervals(
            data.labels,
            data.probabilities,
            data.patients,
            METRICS,
            n_bootstrap=n_bootstrap,
            seed=seed,
            max_fpr=MAX_FPR,
            specificity=SPECIFICITY,
            level=LEVEL,
        ),
        "wilson": wilson(count, total, level=LEVEL),
    }


def coverage(
    patients: int, icc: float, *, data_sets: int, n_bootstrap: int
) -> dict[str, tuple[float, float]]:
    """Interval -> share of data sets in which it holds the truth, and its mean width.

    An interval that could not be given counts as one that does not hold it.
    """
    truth = truths()
    held = dict.fromkeys(truth, 0)
    widths: dict[str, list[float]] = {name: [] for name in truth}
    rng = np.random.default_rng([patients, round(100 * icc)])
    for seed in range(data_sets):
        found = intervals(draw(patients, icc, rng), n_bootstrap, seed)
        for name, interval in found.items():
            if interval.low is not None and interval.high is not None:
                held[name] += interval.low <= truth[name] <= interval.high
                widths[name].append(interval.high - interval.low)
    return {
        name: (held[name] / data_sets, float(np.mean(widths[name]) if widths[name] else np.nan))
        for name in truth
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100 data sets each instead of 1000")
    parser.add_argument("--data-sets", type=int, help="how many each")
    parser.add_argument("--bootstraps", type=int, default=1000, help="resamples an interval")
    options = parser.parse_args()
    data_sets = options.data_sets or (100 if options.quick else 1000)

    truth = truths()
    error = np.sqrt(LEVEL * (1 - LEVEL) / data_sets)
    print(
        f"Coverage of {100 * LEVEL:g} % intervals over {data_sets} data sets each, "
        f"{options.bootstraps} resamples, {NODULES:g} nodules a patient, {100 * PREVALENCE:g} % "
        f"positive.\nMonte-Carlo error (one standard error) at {100 * LEVEL:g} %: "
        f"{100 * error:.1f} points. In brackets the mean width."
    )
    columns = [(patients, icc) for patients in PATIENTS for icc in ICCS]
    start = time.perf_counter()
    found = {
        key: coverage(*key, data_sets=data_sets, n_bootstrap=options.bootstraps) for key in columns
    }
    width = max(map(len, NAMES.values()))
    print()
    print(f"{'patients':<{width + 8}}" + "".join(f"{patients:>14}" for patients, _ in columns))
    print(f"{'ICC':<{width}}   truth" + "".join(f"{icc:>14}" for _, icc in columns))
    for name, text in NAMES.items():
        cells = "".join(
            f"{f'{100 * share:.1f} ({wide:.3f})':>14}"
            for share, wide in (found[key][name] for key in columns)
        )
        print(f"{text:<{width}}  {truth[name]:6.3f}{cells}")
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
