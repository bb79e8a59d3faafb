"""FROC of a submission as large as LUNA16's, beside the same rules in plain Python in one run.

    python benchmarks/froc.py           55,000 marks, 888 scans, 1000 resamples: about a minute
    python benchmarks/froc.py --quick   a tenth of it

The peer goes scan by scan and mark by mark through lists, as the challenge's script does, and
makes a curve by sorting the marks of each resample. Of its resamples only some are run and the
time of all is extrapolated; both must agree on every count and on the CPM. Best of the rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from nodulenet.evaluation.froc import (
    FP_RATES,
    MARKS_PER_SCAN,
    UNKNOWN_DIAMETER_MM,
    FrocReference,
    evaluate_froc,
)

BOOTSTRAPS = 1000
PEER_BOOTSTRAPS = 20
Scan = tuple[list[float], list[float], int]


def submission(scale: float) -> tuple[pd.DataFrame, FrocReference]:
    """Marks on most nodules, on excluded findings and elsewhere; scans of very different length."""
    random = np.random.default_rng(0)
    scans, marks, nodules, excluded = (round(n * scale) for n in (888, 55_000, 1186, 35_000))
    series = [f"1.3.6.1.4.1.14519.5.2.1.6279.6001.{i:030d}" for i in range(scans)]

    def places(n: int, uids: Any = None) -> pd.DataFrame:
        table = pd.DataFrame(random.uniform(0, 300, (n, 3)), columns=["coordX", "coordY", "coordZ"])
        table["seriesuid"] = random.choice(series, n) if uids is None else uids
        return table

    # Some scans have far more marks than the cap, as detectors do.
    busy = random.dirichlet(np.full(scans, 2.0))
    included = places(nodules).assign(diameter_mm=random.uniform(3, 30, nodules))
    ignored = places(excluded).assign(diameter_mm=-1.0)
    on_nodules = included.sample(frac=0.95, random_state=0)
    on_excluded = ignored.sample(frac=0.2, random_state=0)
    others = places(
        marks - len(on_nodules) - len(on_excluded),
        random.choice(series, marks - len(on_nodules) - len(on_excluded), p=busy),
    )
    table = pd.concat(
        [
            on_nodules.assign(probability=random.beta(5, 2, len(on_nodules))),
            on_excluded.assign(probability=random.beta(2, 3, len(on_excluded))),
            others.assign(probability=random.beta(1, 6, len(others))),
        ],
        ignore_index=True,
    ).drop(columns="diameter_mm")
    table["probability"] = table["probability"].round(4)
    return table, FrocReference(included, ignored, series)


def by_scan(table: pd.DataFrame, value: str) -> dict[str, list[tuple[float, ...]]]:
    """Rows of each scan as tuples."""
    found: dict[str, list[tuple[float, ...]]] = {}
    columns = ["coordX", "coordY", "coordZ", value]
    for uid, *row in table[["seriesuid", *columns]].itertuples(index=False):
        found.setdefault(uid, []).append(tuple(row))
    return found


def plain_matches(
    table: pd.DataFrame, reference: FrocReference
) -> tuple[dict[str, int], list[Scan]]:
    """The rules, mark by mark: counts, and of each scan hits, false positives and nodules."""
    marks = by_scan(table, "probability")
    included = by_scan(reference.annotations, "diameter_mm")
    assert reference.excluded is not None
    excluded = by_scan(reference.excluded, "diameter_mm")
    counts = dict.fromkeys(("candidates", "ignored_excluded", "ignored_duplicates"), 0)
    scans: list[Scan] = []
    for uid in reference.series:
        own = marks.get(uid, [])
        if len(own) > MARKS_PER_SCAN:
            limit = sorted((m[3] for m in own), reverse=True)[MARKS_PER_SCAN]
            own = [m for m in own if m[3] > limit]
        counts["candidates"] += len(own)
        free = [True] * len(own)
        hits = []
        for nodule in included.get(uid, []):
            on = inside(own, nodule)
            if on:
                hits.append(max(own[i][3] for i in on))
                counts["ignored_duplicates"] += len(on) - 1
            for i in on:
                free[i] = False
        for finding in excluded.get(uid, []):
            for i in inside(own, finding):
                counts["ignored_excluded"] += free[i]
                free[i] = False
        false = [mark[3] for mark, is_free in zip(own, free, strict=True) if is_free]
        scans.append((hits, false, len(included.get(uid, []))))
    return counts, scans


def inside(marks: list[tuple[float, ...]], finding: tuple[float, ...]) -> list[int]:
    """Positions of the marks within a finding."""
    x, y, z, diameter = finding
    radius = (UNKNOWN_DIAMETER_MM if diameter < 0 else diameter) / 2
    return [
        i
        for i, m in enumerate(marks)
        if (m[0] - x) ** 2 + (m[1] - y) ** 2 + (m[2] - z) ** 2 < radius**2
    ]


def plain_cpm(scans: list[Scan]) -> float:
    """The curve of these scans by sorting all their scores, and its mean at the seven rates."""
    hits = [score for scan in scans for score in scan[0]]
    false = [score for scan in scans for score in scan[1]]
    scores = np.array(hits + false)
    is_hit = np.arange(scores.size) < len(hits)
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)
    found = np.append(0, np.cumsum(is_hit[order])[last]) / sum(scan[2] for scan in scans)
    rate = np.append(0, np.cumsum(~is_hit[order])[last]) / len(scans)
    return float(np.interp(FP_RATES, rate, found).mean())


def plain_bootstrap(scans: list[Scan], n_bootstrap: int) -> list[float]:
    """The CPM of resampled scans, one resample after the other."""
    random = np.random.default_rng(0)
    return [
        plain_cpm([scans[i] for i in random.integers(0, len(scans), len(scans))])
        for _ in range(n_bootstrap)
    ]


def best(call: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    """Best seconds of some rounds, and what the call returns."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - begin)
    return min(times), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the size, one round")
    quick = parser.parse_args().quick
    rounds = 1 if quick else 3
    table, reference = submission(0.1 if quick else 1.0)

    ours, result = best(lambda: evaluate_froc(table, reference, n_bootstrap=BOOTSTRAPS), rounds)
    count_only, _ = best(lambda: evaluate_froc(table, reference, n_bootstrap=0), rounds)
    matching, (counts, scans) = best(lambda: plain_matches(table, reference), rounds)
    curve, cpm = best(lambda: plain_cpm(scans), rounds)
    some, replicates = best(lambda: plain_bootstrap(scans, PEER_BOOTSTRAPS), 1)
    peer = matching + curve + some / PEER_BOOTSTRAPS * BOOTSTRAPS

    for name, value in counts.items():
        assert value == getattr(result, name), name
    assert sum(len(scan[0]) for scan in scans) == result.true_positives
    assert sum(len(scan[1]) for scan in scans) == result.false_positives
    assert abs(cpm - result.cpm) < 1e-12
    low, high = result.cpm_interval.low, result.cpm_interval.high
    assert low is not None
    assert high is not None
    assert low < float(np.mean(replicates)) < high

    print(
        f"{len(table)} marks ({result.candidates} after the cap) in {result.scans} scans, "
        f"{result.nodules} nodules, {len(reference.excluded)} excluded findings; "  # type: ignore[arg-type]
        f"CPM {result.cpm:.4f} ({low:.4f} to {high:.4f}), the same in both"
    )
    print(f"{'':<42}{'NoduleNet':>12}{'plain Python':>14}{'ratio':>8}")
    for name, own, other in (
        ("counts and curve", count_only, matching + curve),
        (f"with {BOOTSTRAPS} resamples of the scans", ours, peer),
    ):
        print(f"{name:<42}{own:>10.2f} s{other:>12.2f} s{other / own:>7.0f}x")
    print(f"plain Python: {PEER_BOOTSTRAPS} resamples run, the others extrapolated")


if __name__ == "__main__":
    main()
