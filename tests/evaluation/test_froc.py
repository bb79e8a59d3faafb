"""FROC: cases that anyone can count, a plain second implementation, and the real example."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.froc import FP_RATES, FrocReference, evaluate_froc, match_marks
from nodulenet.evaluation.froc_tables import read_marks


def nodules(*rows: tuple[str, float, float, float, float]) -> pd.DataFrame:
    return pd.DataFrame(
        list(rows), columns=["seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"]
    )


def marks(*rows: tuple[str, float, float, float, float]) -> pd.DataFrame:
    return pd.DataFrame(
        list(rows), columns=["seriesuid", "coordX", "coordY", "coordZ", "probability"]
    )


def counts(result: object) -> tuple[int, ...]:
    names = (
        "true_positives",
        "false_positives",
        "false_negatives",
        "ignored_excluded",
        "ignored_duplicates",
        "candidates",
    )
    return tuple(getattr(result, name) for name in names)


ONE = nodules(("s", 0, 0, 0, 10))


def test_strictly_inside_the_radius() -> None:
    reference = FrocReference(ONE, None, ["s"])
    at_radius = evaluate_froc(marks(("s", 3, 4, 0, 0.9)), reference, n_bootstrap=0)
    assert counts(at_radius) == (0, 1, 1, 0, 0, 1)
    inside = evaluate_froc(marks(("s", 3, 3.999999, 0, 0.9)), reference, n_bootstrap=0)
    assert counts(inside) == (1, 0, 0, 0, 0, 1)
    assert inside.sensitivities == (1.0,) * 7


def test_a_negative_diameter_is_ten_millimetres() -> None:
    reference = FrocReference(ONE, nodules(("s", 50, 0, 0, -1)), ["s"])
    result = evaluate_froc(
        marks(("s", 54.9, 0, 0, 0.9), ("s", 55, 0, 0, 0.8)), reference, n_bootstrap=0
    )
    assert counts(result) == (0, 1, 1, 1, 0, 2)
    included = FrocReference(nodules(("s", 0, 0, 0, -1)), None, ["s"])
    assert evaluate_froc(marks(("s", 4.9, 0, 0, 1)), included, n_bootstrap=0).cpm == 1.0


def test_the_highest_of_several_marks_counts() -> None:
    reference = FrocReference(ONE, None, ["s", "t"])
    result = evaluate_froc(
        marks(("s", 0, 0, 0, 0.2), ("s", 1, 0, 0, 0.9), ("s", 2, 0, 0, 0.5), ("t", 0, 0, 0, 0.7)),
        reference,
        n_bootstrap=0,
    )
    assert counts(result) == (1, 1, 0, 0, 2, 4)
    # With 0.9 the hit comes before the false positive (0.7); with 0.5 or 0.2 it would not.
    assert result.sensitivities[0] == 1.0


def test_included_before_excluded_and_excluded_counted_once() -> None:
    excluded = nodules(("s", 1, 0, 0, 10), ("s", 20, 0, 0, 10), ("s", 21, 0, 0, 10))
    reference = FrocReference(ONE, excluded, ["s"])
    both = marks(("s", 0.5, 0, 0, 0.9), ("s", 20.5, 0, 0, 0.8))
    assert counts(evaluate_froc(both, reference, n_bootstrap=0)) == (1, 0, 0, 1, 0, 2)


def test_a_mark_in_two_nodules_counts_for_both() -> None:
    reference = FrocReference(nodules(("s", 0, 0, 0, 10), ("s", 4, 0, 0, 10)), None, ["s"])
    result = evaluate_froc(
        marks(("s", 2, 0, 0, 0.9), ("s", 2.5, 0, 0, 0.5)), reference, n_bootstrap=0
    )
    # Each nodule ignores its second mark: that makes two duplicates.
    assert counts(result) == (2, 0, 0, 0, 2, 2)
    assert "two included nodules" in " ".join(result.warnings)


def test_other_series_are_in_no_count() -> None:
    annotations = pd.concat([ONE, nodules(("elsewhere", 0, 0, 0, 10))])
    result = evaluate_froc(
        marks(("s", 0, 0, 0, 0.5), ("elsewhere", 0, 0, 0, 0.9), ("nowhere", 9, 9, 9, 0.9)),
        FrocReference(annotations, None, ["s"]),
        n_bootstrap=0,
    )
    assert counts(result) == (1, 0, 0, 0, 0, 1)
    assert result.nodules == 1


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([1.0] + [0.5] * 99, 100),  # exactly 100: all stay
        (list(range(150)), 100),
        ([1.0] * 40 + [0.5] * 61, 40),  # the 101st ties with 61 marks: they all go
        ([0.5] * 101, 0),
        ([1.0] * 100 + [0.5], 100),
        ([1.0] * 101 + [0.5] * 9, 0),
    ],
)
def test_the_cap(scores: list[float], kept: int) -> None:
    table = marks(*[("s", 100.0 + i, 0, 0, score) for i, score in enumerate(scores)])
    matches = match_marks(table.sample(frac=1, random_state=1), FrocReference(ONE, None, ["s"]))
    assert matches.candidates == kept
    assert sorted(matches.score, reverse=True) == sorted(scores, reverse=True)[:kept]


def test_the_cap_is_before_matching() -> None:
    far = [("s", 100.0 + i, 0, 0, 0.9) for i in range(100)]
    hit = ("s", 0.0, 0, 0, 0.1)
    result = evaluate_froc(marks(*far, hit), FrocReference(ONE, None, ["s"]), n_bootstrap=0)
    assert counts(result) == (0, 100, 1, 0, 0, 100)
    assert "cut back" in " ".join(result.warnings)


def test_interpolation_by_hand() -> None:
    # Two scans, four nodules, of which one is missed. Scores: hit .9 | fp .8 | hit and fp tied
    # at .7 | hit .6 and two fp tied at .6. Corners (fp per scan, hits): (0,0) (0,1) (.5,1) (1,2)
    # (2,3).
    reference = FrocReference(
        nodules(*[("s", 100.0 * i, 0, 0, 10) for i in range(4)]), None, ["s", "t"]
    )
    result = evaluate_froc(
        marks(
            ("s", 0, 0, 0, 0.9),
            ("t", 0, 0, 0, 0.8),
            ("s", 100, 0, 0, 0.7),
            ("t", 5, 0, 0, 0.7),
            ("s", 200, 0, 0, 0.6),
            ("t", 9, 0, 0, 0.6),
            ("t", 9, 0, 0, 0.6),  # an identical row is a second false positive
        ),
        reference,
        n_bootstrap=0,
    )
    assert counts(result) == (3, 4, 1, 0, 0, 7)
    assert result.sensitivities == (0.25, 0.25, 0.25, 0.5, 0.75, 0.75, 0.75)
    between = result.curve.set_index("fp_rate")["sensitivity"]
    assert between[2.0**-0.5] == pytest.approx((1 + (2.0**-0.5 - 0.5) / 0.5) / 4)
    assert between[2.0**0.5] == pytest.approx((2 + (2.0**0.5 - 1)) / 4)
    assert result.missed["x_lps_mm"].tolist() == [300.0]
    false = result.false_marks
    assert false["probability"].tolist() == [0.8, 0.7, 0.6, 0.6]
    assert false[["scan_id", "x_lps_mm"]].values.tolist()[1] == ["t", 5.0]


def test_the_upper_end_at_a_vertical_step() -> None:
    # One false positive in eight scans, then a hit: exactly at 1/8 the curve rises.
    series = [f"s{i}" for i in range(8)]
    result = evaluate_froc(
        marks(("s1", 0, 0, 0, 0.9), ("s0", 0, 0, 0, 0.8), ("s2", 0, 0, 0, 0.7)),
        FrocReference(nodules(("s0", 0, 0, 0, 10)), None, series),
        n_bootstrap=0,
    )
    assert result.sensitivities == (1.0,) * 7


def test_no_hit_and_no_mark_are_zero_and_said() -> None:
    reference = FrocReference(ONE, None, ["s"])
    for table in (marks(("s", 90, 0, 0, 0.5)), marks().astype({"probability": float})):
        result = evaluate_froc(table, reference, n_bootstrap=20)
        assert result.cpm == 0.0
        assert result.false_negatives == 1
        assert "no nodule was hit" in " ".join(result.warnings)
        json.dumps(result.to_dict(curve=True), allow_nan=False)


def test_every_line_of_the_list_is_a_scan(tmp_path: Path) -> None:
    for name, table in (("a", ONE), ("e", nodules())):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    (tmp_path / "s.csv").write_text("seriesuid\ns\ns\n")
    reference = FrocReference.read(tmp_path / "a.csv", tmp_path / "e.csv", tmp_path / "s.csv")
    result = evaluate_froc(marks(("s", 0, 0, 0, 0.5)), reference, n_bootstrap=0)
    assert result.scans == 3
    assert result.nodules == 2
    assert result.true_positives == 2
    assert "header" in result.warnings[0]
    assert "more than once" in result.warnings[1]


def test_our_column_names_mean_the_same() -> None:
    luna = {"seriesuid": "scan_id", "coordX": "x_lps_mm", "coordY": "y_lps_mm"}
    ours = luna | {"coordZ": "z_lps_mm"}
    result = evaluate_froc(
        marks(("s", 1, 2, 3, 0.5)).rename(columns=ours),
        FrocReference(ONE.rename(columns=ours), None, ["s"]),
        n_bootstrap=0,
    )
    assert result.true_positives == 1


def test_bad_tables_are_named(tmp_path: Path) -> None:
    reference = FrocReference(ONE, None, ["s"])
    with pytest.raises(PredictionsError, match=r"marks: column 'probability' is missing"):
        evaluate_froc(marks().drop(columns="probability"), reference)
    with pytest.raises(PredictionsError, match=r"marks, row 2: coordY nan"):
        evaluate_froc(marks(("s", 0, 0, 0, 0), ("s", 0, float("nan"), 0, 0)), reference)
    bad = ONE.astype(object).assign(diameter_mm="big")
    with pytest.raises(PredictionsError, match="annotations, row 1: diameter_mm 'big'"):
        evaluate_froc(marks(), FrocReference(bad, None, ["s"]))
    with pytest.raises(PredictionsError, match="no annotated nodule"):
        evaluate_froc(marks(), FrocReference(ONE, None, ["other"]))
    with pytest.raises(PredictionsError, match="list of series is empty"):
        FrocReference(ONE, None, [])
    with pytest.raises(PredictionsError, match="no such file"):
        FrocReference.read(tmp_path / "x.csv", None, tmp_path / "y.csv")


def plain_froc(
    table: pd.DataFrame, reference: FrocReference
) -> tuple[tuple[int, ...], list[float]]:
    """The rules once more, mark by mark, with NumPy's own interpolation."""
    hits, false, missed, ignored, twice, total = [], [], 0, 0, 0, 0
    for uid in reference.series:
        own = [r for r in table.itertuples() if r.seriesuid == uid]
        if len(own) > 100:
            limit = sorted((r.probability for r in own), reverse=True)[100]
            own = [r for r in own if r.probability > limit]
        total += len(own)
        left = list(own)
        for which, source in (("in", reference.annotations), ("out", reference.excluded)):
            for n in source[source.seriesuid == uid].itertuples():
                radius = (10.0 if n.diameter_mm < 0 else n.diameter_mm) / 2
                on = [
                    r
                    for r in own
                    if (r.coordX - n.coordX) ** 2
                    + (r.coordY - n.coordY) ** 2
                    + (r.coordZ - n.coordZ) ** 2
                    < radius**2
                ]
                if which == "in" and on:
                    hits.append(max(r.probability for r in on))
                    twice += len(on) - 1
                elif which == "in":
                    missed += 1
                else:
                    ignored += sum(r in left for r in on)
                left = [r for r in left if r not in on]
        false += [r.probability for r in left]
    x, y = [0.0], [0.0]
    for score in sorted({*hits, *false}, reverse=True):
        x.append(sum(s >= score for s in false) / len(reference.series))
        y.append(sum(s >= score for s in hits) / (len(hits) + missed))
    at = [float(np.interp(r, x, y)) for r in FP_RATES]
    return (len(hits), len(false), missed, ignored, twice, total), at


@pytest.mark.parametrize("seed", range(8))
def test_random_submissions_equal_the_plain_implementation(seed: int) -> None:
    random = np.random.default_rng(seed)
    series = [f"s{i}" for i in range(12)]

    def cloud(n: int) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "seriesuid": random.choice([*series, "unlisted"], n),
                "coordX": random.integers(0, 40, n).astype(float),
                "coordY": random.integers(0, 40, n).astype(float),
                "coordZ": random.integers(0, 10, n).astype(float),
            }
        )

    included = cloud(20).assign(diameter_mm=random.integers(4, 14, 20).astype(float))
    excluded = cloud(30).assign(diameter_mm=random.choice([-1.0, 6.0, 12.0], 30))
    n = int(random.integers(100, 1800))
    table = cloud(n).assign(probability=np.round(random.random(n), int(random.integers(1, 4))))
    reference = FrocReference(included, excluded, series)
    expected_counts, expected = plain_froc(table, reference)
    result = evaluate_froc(table, reference, n_bootstrap=0)
    assert counts(result) == expected_counts
    np.testing.assert_allclose(result.sensitivities, expected, atol=1e-12)


def test_a_capped_submission_with_ties_equals_the_plain_implementation() -> None:
    """Every scan reaches the cap, some with ties that take it well below 100 marks."""
    random = np.random.default_rng(7)
    series = [f"s{i}" for i in range(6)]
    rows = []
    for index, uid in enumerate(series):
        n = 101 + 40 * index
        # Few distinct scores: 2 to 60 of them, so that the 101st ties with many or with few.
        scores = random.integers(0, 2 + 12 * index, n) / 64
        rows += [(uid, *random.integers(0, 60, 2), random.integers(0, 8), p) for p in scores]
    table = marks(*rows).astype(dict.fromkeys(("coordX", "coordY", "coordZ"), float))
    where = [(random.choice(series), *random.integers(0, 60, 2), 4) for _ in range(34)]
    reference = FrocReference(
        nodules(*[(*w, d) for w, d in zip(where[:12], random.uniform(4, 20, 12), strict=True)]),
        nodules(*[(*w, d) for w, d in zip(where[12:], [-1.0, 14.0] * 11, strict=True)]),
        series,
    )
    expected_counts, expected = plain_froc(table, reference)
    result = evaluate_froc(table, reference, n_bootstrap=0)
    assert counts(result) == expected_counts
    np.testing.assert_allclose(result.sensitivities, expected, atol=1e-12)
    kept = match_marks(table, reference).candidates
    assert kept < 600
    assert match_marks(table, reference, marks_per_scan=10**6).candidates == len(table)
    assert "6 scans had more than 100 marks" in " ".join(result.warnings)
    assert result.true_positives > 0
    assert result.ignored_excluded > 0
    assert result.ignored_duplicates > 0


# Whole millimetres on a small grid: marks on the rim, in two nodules, in several excluded findings.
places = st.tuples(
    st.sampled_from(["s", "t", "u", "elsewhere"]), *[st.integers(0, 8).map(float)] * 2, st.just(0.0)
)
found = st.tuples(places, st.sampled_from([-1.0, -7.5, 0.0, 2.0, 6.0, 10.0])).map(
    lambda pair: (*pair[0], pair[1])
)
marked = st.tuples(places, st.integers(0, 4)).map(lambda pair: (*pair[0], pair[1] / 4))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(found, min_size=1, max_size=5),
    st.lists(found, max_size=6),
    st.lists(marked, min_size=1, max_size=30),
    st.lists(st.sampled_from(["s", "t", "u"]), min_size=1, max_size=5),
)
def test_any_submission_equals_the_plain_implementation(
    included: list[tuple[str, float, float, float, float]],
    excluded: list[tuple[str, float, float, float, float]],
    table: list[tuple[str, float, float, float, float]],
    series: list[str],
) -> None:
    """Ties, repeated series, negative and zero diameters, marks in several findings at once."""
    reference = FrocReference(nodules(*included), nodules(*excluded), series)
    if not any(row[0] in series for row in included):
        with pytest.raises(PredictionsError, match="no annotated nodule"):
            evaluate_froc(marks(*table), reference, n_bootstrap=0)
        return
    expected_counts, expected = plain_froc(marks(*table), reference)
    result = evaluate_froc(marks(*table), reference, n_bootstrap=20)
    assert counts(result) == expected_counts
    np.testing.assert_allclose(result.sensitivities, expected, atol=1e-12)
    assert result.true_positives + result.false_negatives == result.nodules
    points = result.points
    assert (points["fp_rate"].diff().dropna() >= 0).all()
    assert (points["sensitivity"].diff().dropna() >= 0).all()
    end = points.iloc[-1]
    assert end["fp_rate"] == pytest.approx(result.false_positives / len(series))
    assert end["sensitivity"] == pytest.approx(result.true_positives / result.nodules)
    json.dumps(result.to_dict(curve=True), allow_nan=False)


def test_points_of_the_curve_by_hand() -> None:
    reference = FrocReference(nodules(("s", 0, 0, 0, 10), ("s", 50, 0, 0, 10)), None, ["s", "t"])
    table = marks(("s", 0, 0, 0, 0.9), ("t", 0, 0, 0, 0.5), ("t", 9, 0, 0, 0.5), ("s", 50, 0, 0, 0))
    points = evaluate_froc(table, reference, n_bootstrap=0).points
    assert np.isnan(points["threshold"][0])
    assert points["threshold"].tolist()[1:] == [0.9, 0.5, 0.0]
    assert points["fp_rate"].tolist() == [0, 0, 1, 1]
    assert points["sensitivity"].tolist() == [0, 0.5, 0.5, 1]


def test_marks_elsewhere_and_marks_without_a_scan_are_told() -> None:
    reference = FrocReference(ONE, None, ["s"])
    table = marks(("s", 0, 0, 0, 0.5), ("S", 0, 0, 0, 0.9), (" s", 0, 0, 0, 0.9))
    result = evaluate_froc(table, reference, n_bootstrap=0)
    assert "2 marks lie in series that are not listed" in " ".join(result.warnings)
    table.loc[1, "seriesuid"] = None
    with pytest.raises(PredictionsError, match="marks, row 2: seriesuid is empty"):
        evaluate_froc(table, reference)
    for wrong in ({"level": 1.0}, {"level": 0.0}, {"n_bootstrap": -1}):
        with pytest.raises(UsageError, match="expected a level between 0 and 1"):
            evaluate_froc(marks(("s", 0, 0, 0, 0.5)), reference, **wrong)  # type: ignore[arg-type]


def test_a_single_scan_has_no_interval() -> None:
    result = evaluate_froc(marks(("s", 0, 0, 0, 0.5)), FrocReference(ONE, None, ["s"]))
    assert result.cpm == 1.0
    assert result.cpm_interval.low is None
    assert result.curve["low"].isna().all()
    assert "a single scan" in " ".join(result.warnings)
    json.dumps(result.to_dict(curve=True), allow_nan=False)


def test_the_bootstrap_equals_repeating_scans() -> None:
    """Each resample written out as a submission with renamed scans."""
    from nodulenet.evaluation.bootstrap import cluster_weights
    from nodulenet.evaluation.froc import _CURVE_RATES, _replicates

    random = np.random.default_rng(0)
    series = [f"s{i}" for i in range(6)]
    included = nodules(*[(random.choice(series), 50.0 * i, 0, 0, 10) for i in range(9)])
    table = marks(
        *[
            (random.choice(series), 50.0 * random.integers(0, 9), 0, 0, round(random.random(), 1))
            for _ in range(80)
        ]
    )
    reference = FrocReference(included, None, series)
    got = _replicates(match_marks(table, reference), 15, 3)
    (_, weights), *_ = cluster_weights(6, 15, seed=3)
    for row, drawn in enumerate(weights.astype(int)):
        names = [(uid, copy) for uid, k in zip(series, drawn, strict=True) for copy in range(k)]
        again = FrocReference(
            pd.concat(
                [included[included.seriesuid == u].assign(seriesuid=f"{u}/{c}") for u, c in names]
            ),
            None,
            [f"{u}/{c}" for u, c in names],
        )
        copies = pd.concat(
            [table[table.seriesuid == u].assign(seriesuid=f"{u}/{c}") for u, c in names]
        )
        if len(again.annotations):
            expected = evaluate_froc(copies, again, n_bootstrap=0).curve["sensitivity"]
            np.testing.assert_allclose(got[row], expected, atol=1e-12)
    assert np.isin(FP_RATES, _CURVE_RATES).all()


def test_seeded_and_json_ready() -> None:
    series = [f"s{i}" for i in range(10)]
    reference = FrocReference(nodules(*[(s, 0, 0, 0, 10) for s in series]), None, series)
    table = marks(*[(s, 20.0 * (i % 3 == 0), 0, 0, 0.1 * i) for i, s in enumerate(series)])
    first = evaluate_froc(table, reference, n_bootstrap=200, seed=1)
    assert first.to_dict(curve=True) == evaluate_froc(
        table, reference, n_bootstrap=200, seed=1
    ).to_dict(curve=True)
    assert first.cpm_interval != evaluate_froc(table, reference, n_bootstrap=200).cpm_interval
    content = json.loads(json.dumps(first.to_dict(), allow_nan=False))
    assert content["cpm"] == first.cpm
    assert len(content["sensitivities_interval"]) == 7
    assert "curve" not in content
    assert first.cpm_interval.low is not None
    assert first.cpm_interval.low < first.cpm < first.cpm_interval.high


@pytest.mark.data
def test_the_published_example(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("luna16_eval")
    reference = FrocReference.read(
        folder / "annotations.csv", folder / "annotations_excluded.csv", folder / "seriesuids.csv"
    )
    expected = json.loads((folder / "expected.json").read_text())
    result = evaluate_froc(read_marks(folder / "submission.csv"), reference)
    got = result.to_dict()
    for name in (
        "true_positives",
        "false_positives",
        "false_negatives",
        "ignored_excluded",
        "ignored_duplicates",
        "candidates",
        "nodules",
        "scans",
        "fp_rates",
    ):
        assert got[name] == expected[name], name
    np.testing.assert_allclose(got["sensitivities"], expected["sensitivities"], atol=1e-11)
    assert got["cpm"] == pytest.approx(expected["cpm"], abs=1e-11)
    assert got["warnings"] == []

    missed = (folder / "expected_nodulesWithoutCandidate.txt").read_text().split(",")
    assert result.missed["scan_id"].tolist() == [missed[0]]
    assert result.missed["x_lps_mm"].iloc[0] == float(missed[2])

    vectors = pd.read_csv(
        folder / "expected_froc_gt_prob_vectors.csv", header=None, names=["hit", "score"]
    )
    matches = match_marks(read_marks(folder / "submission.csv"), reference)
    for hit in (True, False):
        published = vectors.loc[(vectors["hit"] == hit) & (vectors["score"] > -1e8), "score"]
        np.testing.assert_allclose(
            np.sort(matches.score[matches.is_hit == hit]), np.sort(published), atol=1e-9
        )

    # The published curve is the corners of ours, each with its threshold.
    corners = np.loadtxt(folder / "expected_froc.txt", delimiter=",")
    own = {tuple(point) for point in result.points.to_numpy()[1:, [1, 2, 0]].round(9)}
    assert {tuple(corner) for corner in corners if np.isfinite(corner[2])} <= own

    band = pd.read_csv(folder / "expected_froc_bootstrapping.csv.gz")
    ours = result.curve[result.curve["fp_rate"].between(0.125, 8)]
    for column, name in (
        ("mean", "Sensivity[Mean]"),
        ("low", "Sensivity[Lower bound]"),
        ("high", "Sensivity[Upper bound]"),
    ):
        published = np.interp(ours["fp_rate"], band["FPrate"], band[name])
        # 1000 resamples with another seed: limits of a step curve differ by a nodule or two.
        assert np.abs(ours[column] - published).mean() < 0.01


def test_a_whole_luna16_takes_seconds() -> None:
    random = np.random.default_rng(0)
    n, series = 55_000, [f"1.3.6.1.4.1.14519.5.2.1.6279.6001.{i:030d}" for i in range(888)]
    included = pd.DataFrame(
        random.uniform(0, 300, (1186, 3)), columns=["coordX", "coordY", "coordZ"]
    )
    included["seriesuid"] = random.choice(series, 1186)
    included["diameter_mm"] = random.uniform(4, 20, 1186)
    excluded = pd.DataFrame(
        random.uniform(0, 300, (35_000, 3)), columns=["coordX", "coordY", "coordZ"]
    )
    excluded["seriesuid"] = random.choice(series, 35_000)
    excluded["diameter_mm"] = -1.0
    hits = included.sample(1100, random_state=0)
    table = pd.concat(
        [
            hits.assign(probability=random.beta(5, 2, 1100)),
            pd.DataFrame(
                {
                    "seriesuid": random.choice(series, n - 1100),
                    **{c: random.uniform(0, 300, n - 1100) for c in ("coordX", "coordY", "coordZ")},
                    "probability": random.beta(1, 6, n - 1100),
                }
            ),
        ]
    )
    start = time.perf_counter()
    result = evaluate_froc(table, FrocReference(included, excluded, series))
    seconds = time.perf_counter() - start
    assert result.candidates > 50_000
    assert result.cpm_interval.low < result.cpm < result.cpm_interval.high  # type: ignore[operator]
    # About a second here; the limit leaves room for a busy machine.
    assert seconds < 20


@pytest.mark.parametrize("hit", [True, False])
def test_resamples_without_spread_have_no_interval(hit: bool) -> None:
    series = [f"s{i}" for i in range(8)]
    reference = FrocReference(nodules(*[(s, 0, 0, 0, 10) for s in series]), None, series)
    table = marks(*[(s, 0 if hit else 50, 0, 0, 0.5) for s in series])
    result = evaluate_froc(table, reference, n_bootstrap=100)
    assert result.cpm == float(hit)
    for interval in (*result.sensitivity_intervals, result.cpm_interval):
        assert (interval.low, interval.high) == (None, None)
        assert "same value" in interval.note
    content = json.loads(json.dumps(result.to_dict(curve=True), allow_nan=False))
    assert content["sensitivities_interval"] == [[None, None]] * 7
    assert content["cpm_interval"] == [None, None]
    assert "same value" in content["interval"]["note"]
    assert result.curve[["low", "high"]].isna().all(axis=None)
    assert (result.curve["mean"] == float(hit)).all()


def test_only_the_part_of_the_band_without_spread_is_left_out() -> None:
    series = [f"s{i}" for i in range(8)]
    reference = FrocReference(nodules(*[(s, 0, 0, 0, 10) for s in series]), None, series)
    # All are found in the end, but in half of the scans after a false positive.
    rows = [(s, 0.0, 0, 0, 0.9 if i % 2 else 0.4) for i, s in enumerate(series)]
    rows += [(s, 50.0, 0, 0, 0.6) for s in series]
    result = evaluate_froc(marks(*rows), reference, n_bootstrap=200)
    low, high = result.curve["low"], result.curve["high"]
    assert low.iloc[0] < high.iloc[0]
    assert np.isnan(low.iloc[-1])
    assert result.sensitivity_intervals[0].low is not None
    assert result.sensitivity_intervals[-1].low is None
    assert result.cpm_interval.low is not None
    assert "same value" in result.to_dict()["interval"]["note"]


def test_what_is_obviously_wrong_is_told() -> None:
    reference = FrocReference(nodules(("s", 30, 40, 5, 10), ("s", 60, 20, 5, 10)), None, ["s"])
    ras = marks(("s", -30, -40, 5, 0.9), ("s", -60, -20, 5, 0.8))
    result = evaluate_froc(ras, reference, n_bootstrap=10)
    assert counts(result)[:3] == (0, 2, 2)
    assert any("signs of x and y turned 2 nodules would be hit" in w for w in result.warnings)
    away = marks(("s", 300, 300, 5, 0.9))
    assert not any("signs" in w for w in evaluate_froc(away, reference, n_bootstrap=10).warnings)
    elsewhere = evaluate_froc(marks(("t", 30, 40, 5, 0.9)), reference, n_bootstrap=10)
    assert counts(elsewhere)[5] == 0
    assert any("none of the 1 marks lies in a listed series" in w for w in elsewhere.warnings)
