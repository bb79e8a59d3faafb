"""Covariates, baselines, stacks and predictions of others, on findings made by hand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import (
    BaselineConfig,
    ColumnConfig,
    Config,
    FoldsConfig,
    OtherPredictions,
    StackConfig,
)
from nodulenet.errors import FindingsError, FoldsError, PredictionsError
from nodulenet.evaluation.kinds import model_kinds
from nodulenet.evaluation.logistic import logit
from nodulenet.evaluation.table import read_predictions
from nodulenet.patches.folds import Folds, make_folds
from nodulenet.patches.store import PatchStore, StoreWriter, UnitResult
from nodulenet.patches.values import Values
from nodulenet.training.baselines import acquisition_columns, baseline_predictions
from nodulenet.training.comparison import check_beside, predictions_beside
from nodulenet.training.covariates import covariates, logistic_model, terms
from nodulenet.training.others import other_predictions
from nodulenet.training.stacking import check_stacks, stack_predictions

N = 240


def columns(*given: Any) -> list[ColumnConfig]:
    """Columns as a configuration gives them."""
    return BaselineConfig(kind="columns", columns=list(given), label="x").columns or []


@pytest.fixture(scope="module")
def findings() -> pd.DataFrame:
    random = np.random.default_rng(0)
    label = (np.arange(N) % 3 == 0).astype(int)
    table = pd.DataFrame(
        {
            "finding_id": [f"f{i:03}" for i in range(N)],
            "patient_id": [f"p{i // 2}" for i in range(N)],
            "scan_id": [f"s{i // 2}" for i in range(N)],
            "label": pd.array(label, dtype="Int64"),
            "position": np.arange(N),
            "diameter_mm": np.exp(random.normal(2 + 0.5 * label, 0.4)),
            "spiculation": random.normal(label, 1.5),
            "manufacturer": random.choice(["GE", "Siemens", "Philips"], N),
            "kvp": random.choice([100.0, 120.0, 140.0], N),
            "slice_thickness_mm": 1.25,
        }
    )
    # Ratings in between have no label: trained on by networks, used by nothing here.
    table.loc[table.index % 40 == 7, "label"] = pd.NA
    return table


@pytest.fixture(scope="module")
def folds(findings: pd.DataFrame) -> Folds:
    return make_folds(findings, FoldsConfig(count=3, inner_fraction=0.34), seed=1)


@pytest.fixture(scope="module")
def store(findings: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> PatchStore:
    """Positives are brighter inside, whatever their size."""
    spec = PatchSpec(form="2d", size=(24, 24), spacing_mm=1.0, margin_voxels=0)
    grid = np.arange(24) - 11.5
    distance = np.hypot(grid[:, None], grid[None])
    random = np.random.default_rng(3)
    bright = 120.0 * (findings["label"] == 1).fillna(False).to_numpy(dtype=float)
    inside = distance[None] <= findings["diameter_mm"].to_numpy()[:, None, None] / 2
    patches = np.where(inside, bright[:, None, None], -800.0) + random.normal(0, 150, (N, 24, 24))
    writer = StoreWriter(tmp_path_factory.mktemp("store"), spec, Values(), {})
    result = UnitResult("all", tuple(findings["finding_id"]), tuple("h" * N))
    writer.write(result, np.clip(patches, -1024, 3000).astype(np.int16))
    return writer.finish(findings[["finding_id"]], [result])


def network(findings: pd.DataFrame, folds: Folds, strength: float = 2.0) -> pd.DataFrame:
    """Inner and outer rows of a network that knows something; inner rows one piece a seed."""
    random = np.random.default_rng(7)
    tables = []
    for fold, piece in folds.trainings():
        parts = folds.parts(fold, piece)
        for split, rows in (("inner", parts.inner), ("outer", parts.outer)):
            if split == "outer" and piece:
                continue
            own = findings.iloc[rows]
            own = own[own["label"].notna()]
            label = own["label"].astype(int)
            logits = strength * (label - 0.5) + random.normal(0, 1.5, len(own))
            tables.append(
                own[["finding_id", "patient_id", "scan_id", "diameter_mm"]].assign(
                    fold=fold,
                    model="v2",
                    split=split,
                    label=label,
                    probability=1 / (1 + np.exp(-logits)),
                )
            )
    return pd.concat(tables, ignore_index=True)


def auc_of(rows: pd.DataFrame, split: str = "outer") -> float:
    own = rows[rows["split"] == split]
    return float(roc_auc_score(own["label"], own["probability"]))


# Covariates


def test_numbers_words_and_what_stands_in_for_empty_cells() -> None:
    table = pd.DataFrame(
        {
            "finding_id": list("abcd"),
            "size": ["4", "", "9", "16"],
            "maker": ["GE", None, " GE ", "Siemens"],
            "grade": [1, 2, 3, 4],
        }
    )
    made = covariates(
        table,
        columns(
            {"column": "size", "missing": "median"},
            {"column": "size", "scale": "log", "missing": 2},
            {"column": "maker", "missing": "median"},
            "grade",
        ),
        "baseline x",
    )
    np.testing.assert_array_equal(made["size"], [4, np.nan, 9, 16])
    np.testing.assert_allclose(made["log size"], np.log([4, 2, 9, 16]))
    assert made["maker"].tolist() == ["GE", "(none)", "GE", "Siemens"]
    assert made["grade"].dtype == np.float64


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("siez", r"baseline x: column 'siez' is no column .* did you mean 'size'"),
        ("size", r"finding 'b' has no size \(1 of 4 findings have none\).*missing: median"),
        ({"column": "zero", "scale": "log"}, r"finding 'c' has zero=0, which has no logarithm"),
        ({"column": "maker", "scale": "log", "missing": "median"}, "holds words"),
        ({"column": "maker", "missing": 3}, "number for `missing` have no meaning"),
        ("label", "what the label is made from"),
        ("rating", "what the label is made from"),
    ],
)
def test_what_cannot_be_a_covariate_is_refused(column: Any, message: str) -> None:
    table = pd.DataFrame(
        {
            "finding_id": list("abcd"),
            "size": [4, None, 9, 16],
            "zero": [1, 2, 0, 3],
            "maker": ["GE", None, "GE", "Siemens"],
            "label": [0, 1, 0, 1],
            "rating": [1, 5, 1, 5],
        }
    )
    with pytest.raises(FindingsError, match=message) as refused:
        covariates(table, columns(column), "baseline x", withheld={"rating"})
    assert "\n" not in str(refused.value)


def test_the_model_is_the_logistic_regression_of_the_standardised_columns() -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame({"a": random.normal(5, 3, 80), "b": random.normal(0, 0.1, 80)})
    labels = (table["a"] + random.normal(0, 3, 80) > 5).astype(int)
    fitted = logistic_model(table).fit(table.iloc[:60], labels[:60])
    scaler = StandardScaler().fit(table.iloc[:60])
    plain = LogisticRegression(max_iter=1000).fit(scaler.transform(table.iloc[:60]), labels[:60])
    np.testing.assert_allclose(
        fitted.predict_proba(table.iloc[60:]),
        plain.predict_proba(scaler.transform(table.iloc[60:])),
    )


def test_rare_and_unseen_words_share_a_category_and_unknown_columns_say_nothing() -> None:
    words = ["GE"] * 30 + ["Siemens"] * 20 + ["Hitachi"] * 3 + ["Canon"] * 3
    table = pd.DataFrame({"maker": words, "kvp": np.full(56, np.nan)})
    labels = np.arange(56) % 2
    model = logistic_model(table).fit(table, labels)
    new = pd.DataFrame({"maker": ["Hitachi", "Canon", "never seen"], "kvp": [np.nan, 120.0, 90.0]})
    assert len(set(model.predict_proba(new)[:, 1])) == 1
    assert terms(table) == 2  # one number; GE against Siemens


# Baselines


def test_baselines_answer_for_every_fold_and_never_saw_it(
    findings: pd.DataFrame, folds: Folds, store: PatchStore
) -> None:
    asked = [
        BaselineConfig(kind="intensity"),
        BaselineConfig(kind="acquisition"),
        BaselineConfig(kind="columns", columns=columns("diameter_mm", "spiculation")),
    ]
    made = baseline_predictions(asked, findings, folds, store)
    assert made.not_available == ()
    table = read_predictions(made.rows)
    assert model_kinds(table) == {
        "diameter+intensity": "baseline",
        "acquisition": "acquisition",
        "diameter_mm+spiculation": "baseline",
    }
    labelled = set(findings.loc[findings["label"].notna(), "finding_id"])
    for _, rows in table.groupby("model"):
        outer = rows[rows["split"] == "outer"]
        assert set(outer["finding_id"]) == labelled
        assert not outer["finding_id"].duplicated().any()
    scores = {m: auc_of(rows) for m, rows in table.groupby("model")}
    diameter = roc_auc_score(
        findings.dropna(subset="label")["label"].astype(int),
        findings.dropna(subset="label")["diameter_mm"],
    )
    assert scores["diameter+intensity"] > 0.99 > diameter
    assert 0.4 < scores["acquisition"] < 0.6
    # An independent fit of one fold: the training part's labelled rows, and they alone.
    parts = folds.parts(1)
    names = ["diameter_mm", "spiculation"]
    train = findings.iloc[parts.train].dropna(subset="label")
    scaler = StandardScaler().fit(train[names])
    plain = LogisticRegression(max_iter=1000).fit(
        scaler.transform(train[names]), train["label"].astype(int)
    )
    own = table[(table["model"] == "diameter_mm+spiculation") & (table["fold"] == 1)]
    for split, rows in (("inner", parts.inner), ("outer", parts.outer)):
        part = findings.iloc[rows].dropna(subset="label")
        found = own[own["split"] == split].set_index("finding_id")["probability"]
        expected = plain.predict_proba(scaler.transform(part[names]))[:, 1]
        np.testing.assert_allclose(found.loc[part["finding_id"]], expected, rtol=1e-9)


def test_the_held_out_labels_change_nothing(
    findings: pd.DataFrame, folds: Folds, store: PatchStore
) -> None:
    """The planted fault: if a fold's own labels were fitted, turning them would show."""
    turned = findings.copy()
    outer = folds.parts(0).outer
    turned.loc[outer, "label"] = 1 - turned.loc[outer, "label"]
    asked = [BaselineConfig(kind="intensity")]
    both = [baseline_predictions(asked, f, folds, store).rows for f in (findings, turned)]
    first, second = (
        rows[(rows["fold"] == 0) & (rows["split"] == "outer")]["probability"] for rows in both
    )
    np.testing.assert_array_equal(first, second)


def test_with_rotating_pieces_the_outer_rows_are_the_mean(
    findings: pd.DataFrame, store: PatchStore
) -> None:
    config = FoldsConfig(count=2, inner_fraction=0.34)
    rotating = make_folds(findings, config, seed=1, pieces=3)
    asked = [BaselineConfig(kind="columns", columns=columns("diameter_mm"))]
    made = baseline_predictions(asked, findings, rotating, store).rows
    read_predictions(made)  # a finding is inner once a fold
    single = [
        baseline_predictions(asked, findings, _piece(rotating, piece), store).rows
        for piece in range(3)
    ]
    outer = [rows[rows["split"] == "outer"]["probability"].to_numpy() for rows in single]
    found = made[made["split"] == "outer"]["probability"].to_numpy()
    np.testing.assert_allclose(found, np.mean(outer, axis=0), rtol=1e-12)
    inner = pd.concat([rows[rows["split"] == "inner"] for rows in single])
    assert len(made[made["split"] == "inner"]) == len(inner)


class _Piece:
    """One piece of rotating folds as folds of their own."""

    pieces = 1

    def __init__(self, folds: Folds, piece: int) -> None:
        self._folds, self._piece = folds, piece
        self.folds = folds.folds

    def parts(self, fold: int, piece: int = 0, **options: bool) -> Any:
        assert piece == 0
        return self._folds.parts(fold, self._piece, **options)


def _piece(folds: Folds, piece: int) -> Any:
    return _Piece(folds, piece)


def test_without_diameters_intensities_have_a_fixed_radius_and_say_so(
    findings: pd.DataFrame, folds: Folds, store: PatchStore
) -> None:
    # A diameter of positives alone would be the answer.
    only = findings.assign(
        diameter_mm=findings["diameter_mm"].where((findings["label"] == 1).fillna(False))
    )
    made = baseline_predictions([BaselineConfig(kind="intensity")], only, folds, store)
    assert set(made.rows["model"]) == {"intensity"}
    (note,) = made.notes
    assert "within 4 mm of the centre" in note
    assert "diameter_mm is known for 0 of" in note
    turned = baseline_predictions(
        [BaselineConfig(kind="intensity")], only.drop(columns="diameter_mm"), folds, store
    )
    np.testing.assert_array_equal(turned.rows["probability"], made.rows["probability"])


def test_findings_outside_the_store_have_no_intensities(
    findings: pd.DataFrame, folds: Folds, store: PatchStore
) -> None:
    streamed = findings.assign(position=findings["position"].where(findings.index % 5 > 0))
    made = baseline_predictions([BaselineConfig(kind="intensity")], streamed, folds, store)
    assert set(made.rows["finding_id"]) <= set(findings["finding_id"][findings.index % 5 > 0])
    assert made.rows["probability"].between(0, 1).all()


def test_acquisition_takes_what_is_there_and_varies(
    findings: pd.DataFrame, folds: Folds, store: PatchStore
) -> None:
    # Slice thickness is the same everywhere.
    assert acquisition_columns(findings) == ["manufacturer", "kvp"]
    sparse = findings.assign(kvp=findings["kvp"].where(findings.index % 4 == 0))
    assert acquisition_columns(sparse) == ["manufacturer"]
    bare = findings.drop(columns=["manufacturer", "kvp"])
    made = baseline_predictions([BaselineConfig(kind="acquisition")], bare, folds, store)
    assert made.rows.empty
    (missing,) = made.not_available
    assert missing["label"] == "acquisition"
    assert "no column of manufacturer" in missing["why"]


# Stacks


def test_a_stack_is_fitted_on_inner_rows_alone(findings: pd.DataFrame, folds: Folds) -> None:
    rows = network(findings, folds)
    stack = StackConfig(model="v2", columns=columns("spiculation", "diameter_mm"))
    found = stack_predictions([stack], rows, findings)
    assert set(found["model"]) == {"v2+spiculation+diameter_mm"}
    assert set(found["kind"]) == {"stack"}
    read_predictions(pd.concat([rows, found]))
    # It helps, because the covariates know more than nothing.
    assert auc_of(found) > auc_of(rows)
    table = rows.merge(findings[["finding_id", "spiculation"]], on="finding_id")
    design = np.column_stack(
        [logit(table["probability"]), table["spiculation"], table["diameter_mm"]]
    )
    for fold in folds.folds:
        inner = ((table["fold"] == fold) & (table["split"] == "inner")).to_numpy()
        outer = ((table["fold"] == fold) & (table["split"] == "outer")).to_numpy()
        # The same posterior maximum by another optimizer.
        scaler = StandardScaler().fit(design[inner][:, 1:])
        terms = np.column_stack(
            [np.ones(len(design)), design[:, 0], scaler.transform(design[:, 1:])]
        )
        signs = 2.0 * table["label"].to_numpy()[inner] - 1
        centre, ridge = np.array([0.0, 1, 0, 0]), np.array([100.0, 10, 1, 1])

        def loss(
            weights: np.ndarray,  # type: ignore[type-arg]
            x: np.ndarray = terms[inner],  # type: ignore[type-arg]
            y: np.ndarray = signs,  # type: ignore[type-arg]
            prior: tuple[np.ndarray, np.ndarray] = (centre, ridge),  # type: ignore[type-arg]
        ) -> float:
            likelihood = np.logaddexp(0, -y * (x @ weights)).sum()
            return float(likelihood + (prior[1] * (weights - prior[0]) ** 2).sum() / 2)

        best = optimize.minimize(loss, centre, method="BFGS", options={"gtol": 1e-9}).x
        expected = 1 / (1 + np.exp(-terms[outer] @ best))
        own = found[(found["fold"] == fold) & (found["split"] == "outer")]
        own = own.set_index("finding_id")["probability"].loc[table["finding_id"][outer]]
        np.testing.assert_allclose(own, expected, rtol=1e-4)


def test_inner_rows_of_a_stack_are_not_in_sample(findings: pd.DataFrame, folds: Folds) -> None:
    """A finding's own label must not move its own inner probability, nor its patient's others."""
    rows = network(findings, folds)
    stack = StackConfig(model="v2", columns=columns("spiculation"), label="s")
    before = stack_predictions([stack], rows, findings, seed=3)
    inner = rows[(rows["split"] == "inner") & (rows["fold"] == 0)]
    patient = inner["patient_id"].iloc[0]
    own = (rows["patient_id"] == patient) & (rows["split"] == "inner") & (rows["fold"] == 0)
    assert own.sum() > 1
    scaled = rows.assign(probability=rows["probability"].where(~own, 1e-6))
    after = stack_predictions([stack], scaled, findings, seed=3)
    key = ["finding_id", "fold", "split"]
    joined = before.merge(after, on=key, suffixes=("", "_after"))
    of_fold = joined[(joined["fold"] == 0) & (joined["split"] == "inner")]
    others = of_fold[of_fold["patient_id"] != patient]
    # Some others were fitted with the patient, and those in the same piece without.
    moved = (others["probability"] != others["probability_after"]).to_numpy()
    assert moved.any()
    assert not moved.all()
    # In sample it would be better than it is.
    assert auc_of(before, "inner") < 0.99


def test_labels_that_are_noise_are_not_learned_inside(findings: pd.DataFrame) -> None:
    """Out of its piece a stack of pure noise ranks the inner rows by chance."""
    folds = make_folds(findings, FoldsConfig(count=2, inner_fraction=0.5), seed=0)
    rows = network(findings, folds, strength=0.0)
    random = np.random.default_rng(0)
    noise = findings.assign(**{f"n{i}": random.normal(size=N) for i in range(2)})
    stack = StackConfig(model="v2", columns=columns("n0", "n1"))
    found = stack_predictions([stack], rows, noise)
    assert auc_of(found, "inner") < 0.62
    assert abs(auc_of(found) - 0.5) < 0.12


def test_too_few_inner_findings_are_refused_with_the_number(
    findings: pd.DataFrame, folds: Folds
) -> None:
    many = ["diameter_mm", "spiculation", "kvp", "manufacturer"]
    stack = StackConfig(model="v2", columns=columns(*many))
    needed = r"needs at least (30|35) positive findings .*\(5 for each of its (6|7) terms\), found"
    with pytest.raises(FoldsError, match=needed):
        check_stacks([stack], findings, folds)
    rows = network(findings, folds)
    with pytest.raises(FoldsError, match=needed):
        stack_predictions([stack], rows, findings)
    check_stacks([StackConfig(model="v2", columns=columns("diameter_mm"))], findings, folds)


def test_a_stack_needs_covariates_of_its_own_findings_alone(
    findings: pd.DataFrame, folds: Folds
) -> None:
    rows = network(findings, folds)
    stack = StackConfig(model="v2", columns=columns("spiculation"))
    unlabelled = findings["label"].isna()
    part = findings.assign(spiculation=findings["spiculation"].mask(unlabelled))
    assert len(stack_predictions([stack], rows, part)) == len(rows)
    part.loc[0, "spiculation"] = np.nan
    with pytest.raises(FindingsError, match=r"stack v2\+spiculation: finding 'f000'"):
        stack_predictions([stack], rows, part)
    assert stack_predictions([StackConfig(model="gone", columns=["kvp"])], rows, part).empty


# Predictions of others


def others_file(path: Path, table: pd.DataFrame) -> list[OtherPredictions]:
    table.to_csv(path, index=False)
    return [OtherPredictions(label="theirs", path=path)]


@pytest.fixture
def theirs(findings: pd.DataFrame) -> pd.DataFrame:
    labelled = findings[findings["label"].notna()]
    return pd.DataFrame({"finding_id": labelled["finding_id"], "probability": 0.25}).reset_index(
        drop=True
    )


def test_predictions_of_others_become_a_model(
    findings: pd.DataFrame, folds: Folds, theirs: pd.DataFrame, tmp_path: Path
) -> None:
    theirs["probability"] = np.linspace(0, 1, len(theirs))
    shuffled = theirs.sample(frac=1, random_state=0)
    made = other_predictions(others_file(tmp_path / "a.csv", shuffled), findings, folds)
    table = read_predictions(made).set_index("finding_id")
    assert set(table["model"]) == {"theirs"}
    assert set(table["kind"]) == {"other"}
    expected = theirs.set_index("finding_id")["probability"]
    np.testing.assert_allclose(table["probability"].loc[expected.index], expected)
    where = folds.table.set_index("finding_id")
    assert (table["fold"] == where["fold"].loc[table.index]).all()
    assert (table["patient_id"] == where["patient_id"].loc[table.index]).all()
    # Inner rows choose thresholds.
    inner = findings.iloc[folds.parts(0).inner].dropna(subset="label")["finding_id"]
    more = pd.concat(
        [
            theirs.assign(fold=np.nan, split=""),
            pd.DataFrame({"finding_id": inner, "probability": 0.5, "fold": 0, "split": "inner"}),
        ]
    )
    made = other_predictions(others_file(tmp_path / "b.csv", more), findings, folds)
    assert (made["split"] == "inner").sum() == len(inner)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(index=3), r"finding 'f003' of fold \d has no prediction \(1 of 234"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "line 236.*every finding once"),
        (lambda t: t.assign(finding_id=t["finding_id"].replace("f001", "x")), "of this run"),
        (lambda t: t.assign(finding_id=t["finding_id"].replace("f001", "f007")), "has a label"),
        (lambda t: t.assign(probability=1.5), "line 2, column 'probability'.*from 0 to 1"),
        (lambda t: t.assign(probability="high"), "expected a number"),
        (lambda t: t.assign(fold=0), "is held out in fold"),
        (lambda t: t.assign(fold=9), "of fold 9"),
        (lambda t: t.assign(split="test"), "inner or outer"),
        (lambda t: t.assign(split="inner"), "the fold that an inner row is of"),
        (lambda t: t.drop(columns="probability"), "column 'probability' is missing"),
    ],
)
def test_wrong_predictions_of_others_are_refused_in_one_line(
    findings: pd.DataFrame,
    folds: Folds,
    theirs: pd.DataFrame,
    tmp_path: Path,
    change: Any,
    message: str,
) -> None:
    with pytest.raises(PredictionsError, match=message) as refused:
        other_predictions(others_file(tmp_path / "a.csv", change(theirs)), findings, folds)
    assert str(refused.value).startswith("others.theirs: ")
    assert "\n" not in str(refused.value)


def test_repeated_folds_need_the_fold_of_every_row(
    findings: pd.DataFrame, theirs: pd.DataFrame, tmp_path: Path
) -> None:
    twice = make_folds(findings, FoldsConfig(count=2, repeats=2, inner_fraction=0.5), seed=0)
    with pytest.raises(PredictionsError, match="because folds are repeated"):
        other_predictions(others_file(tmp_path / "a.csv", theirs), findings, twice)
    fold = twice.table[["finding_id", "fold"]]
    full = theirs.merge(fold[fold["fold"] >= 0], on="finding_id")
    made = other_predictions(others_file(tmp_path / "b.csv", full), findings, twice)
    assert len(read_predictions(made)) == 2 * len(theirs)


@given(text=st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_text_as_a_file_is_read_or_refused_in_one_line(text: str) -> None:
    import tempfile

    table = pd.DataFrame(
        {
            "finding_id": ["a", "b", "c", "d"],
            "patient_id": ["a", "b", "c", "d"],
            "label": pd.array([0, 1, 0, 1], dtype="Int64"),
            "fold": [0, 0, 1, 1],
            "inner_of": "",
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_text(f"finding_id,probability\n{text}", encoding="utf-8", newline="")
        with pytest.raises(PredictionsError) as refused:
            other_predictions([OtherPredictions(label="t", path=path)], table, Folds(table, "file"))
    assert not re.search(r"[\r\n]", str(refused.value))


# All together


def config_with(tmp_path: Path, **fields: Any) -> Config:
    tree = {
        "name": "study",
        "run": str(tmp_path / "run"),
        "label_meaning": "reader_rating",
        "label_rule": {"column": "rating", "negative": [1, 2], "positive": [4, 5]},
        "source": {"kind": "points", "scans": "s", "points": "p.csv"},
        "models": [{"name": "squeezenodule_v2", "label": "v2", "test_poses": 4}],
        "patch": {"form": "2d", "size": [24, 24], "spacing_mm": 1.0},
        "stacks": [
            {"model": "v2", "columns": ["diameter_mm"]},
            {"model": "v2+poses4", "columns": ["diameter_mm"]},
        ],
    }
    return Config.model_validate(tree | fields)


def test_all_of_a_configuration_stand_beside_the_networks(
    findings: pd.DataFrame, folds: Folds, store: PatchStore, theirs: pd.DataFrame, tmp_path: Path
) -> None:
    theirs.to_csv(tmp_path / "a.csv", index=False)
    config = config_with(tmp_path, others=[{"label": "theirs", "path": str(tmp_path / "a.csv")}])
    check_beside(config, findings, folds)
    rows = network(findings, folds)
    made = predictions_beside(config, findings, folds, store, rows)
    assert model_kinds(read_predictions(pd.concat([rows, made.rows]))) == {
        "v2": "network",
        "v2+diameter_mm": "stack",
        "diameter+intensity": "baseline",
        "acquisition": "acquisition",
        "theirs": "other",
    }
    # Its units failed, so that there is nothing to stack on.
    assert [m["label"] for m in made.not_available] == ["v2+poses4+diameter_mm"]
    assert made.notes == ("acquisition: of manufacturer, kvp",)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stacks": [{"model": "v2", "columns": ["rating"]}]}, "what the label is made from"),
        ({"baselines": [{"kind": "columns", "columns": ["gone"]}]}, "baseline gone: column 'gone'"),
        ({"others": [{"label": "t", "path": "gone.csv"}]}, "others.t: gone.csv: there is no such"),
    ],
)
def test_what_is_wrong_is_told_before_a_training(
    findings: pd.DataFrame, folds: Folds, tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    rated = findings.assign(rating=3)
    with pytest.raises((FindingsError, PredictionsError), match=message):
        check_beside(config_with(tmp_path, **fields), rated, folds)


def test_nothing_heavy_is_needed() -> None:
    code = (
        "import sys, nodulenet.training.comparison\n"
        "print([m for m in ('tensorflow', 'keras', 'torch', 'monai') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
