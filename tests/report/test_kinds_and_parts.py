"""Networks, stacks and baselines beside each other; what labels mean; who was in which part."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nodulenet.cli.results import results_table
from nodulenet.config.schema import BaselineConfig, EvaluateConfig, FoldsConfig, StackConfig
from nodulenet.evaluation import read_predictions, summarize
from nodulenet.patches.folds import make_folds
from nodulenet.report import ReportContent
from nodulenet.report.html import _banners
from nodulenet.report.methods import MethodsFacts, methods_text
from nodulenet.report.parts import costs_of_models, count_scorings, parts_of_folds
from nodulenet.report.publish import Report, publish

MakePredictions = Callable[..., pd.DataFrame]
UNITS = [
    {
        "model": "v2",
        "fold": fold,
        "seed": seed,
        "parameters": 900_578,
        "multiply_accumulates": 123_400_000,
        "patches_per_s": 100.0 * (seed + 1),
        "minutes": 1.25,
        "epochs": 9,
        "best_epoch": 9,
    }
    for fold in range(3)
    for seed in range(3)
]


def content_of(make_predictions: MakePredictions, strength: float) -> ReportContent:
    """A network, a stack, two baselines and predictions of others, on three folds."""
    random = np.random.default_rng(0)
    network = make_predictions()
    label = network["label"].to_numpy()
    network["label_basis"] = np.where(np.arange(len(label)) % 4 == 0, "pathology", "")
    tables = [network]
    for model, kind, known in (
        ("v2+d", "stack", 3.0),
        ("diameter+intensity", "baseline", 2.0),
        ("acquisition", "acquisition", strength),
        ("theirs", "other", 1.0),
    ):
        logits = known * label + random.normal(size=len(label))
        tables.append(network.assign(model=model, kind=kind, probability=1 / (1 + np.exp(-logits))))
    rows = pd.concat(tables)
    inner = rows.assign(split="inner", fold=(rows["fold"] + 1) % 3)
    table = read_predictions(pd.concat([rows, inner]))
    findings = network[["finding_id", "patient_id"]].assign(label=pd.array(label, dtype="Int64"))
    folds = make_folds(
        findings,
        FoldsConfig(count=3, inner_fraction=0.34, least_of_each_label=1),
        seed=0,
        stopping=True,
        pieces=2,
    )
    return ReportContent(
        title="Beside",
        label_meaning="reader_rating",
        metrics=summarize(table, EvaluateConfig(bootstraps=200), costs=costs_of_models(UNITS)),
        predictions=table,
        folds=folds.table,
        audit={"ok": True, "lines": ["no patients on two sides"]},
        parts=parts_of_folds(folds),
        scorings={"times": 25, "recipes": 2, "again": 1},
        not_available=[{"label": "extent", "why": "no column nz"}],
    )


@pytest.fixture(scope="module")
def published(
    tmp_path_factory: pytest.TempPathFactory, make_predictions: MakePredictions
) -> tuple[Report, ReportContent]:
    content = content_of(make_predictions, strength=1.5)
    return publish(tmp_path_factory.mktemp("beside"), content), content


@pytest.fixture(scope="module")
def text(published: tuple[Report, ReportContent]) -> str:
    return words_of(published[0].path)


def words_of(page: Path) -> str:
    """The text of a page as people read it."""
    html = page.read_text(encoding="utf-8")
    body = re.sub(r"<(style|script)\b.*?</\1>", " ", html[html.index("<main>") :], flags=re.DOTALL)
    plain = re.sub(r"<[^>]+>", " ", body.replace("<wbr>", ""))
    return re.sub(r"\s+", " ", plain.replace("\N{NO-BREAK SPACE}", " "))


def methods(published: tuple[Report, ReportContent], make_config: Any) -> str:
    report, content = published
    facts = MethodsFacts(
        config=make_config,
        metrics=report.metrics,
        units=UNITS,
        parts=content.parts,
        scorings=content.scorings,
    )
    return methods_text(facts)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from nodulenet.config.schema import Config

    return Config.model_validate(
        {
            "name": "beside",
            "run": "r",
            "label_meaning": "reader_rating",
            "source": {"kind": "points", "scans": "s", "points": "p.csv"},
            "target": {"kind": "soft", "column": "rating", "low": 1, "high": 5},
            "models": [{"name": "squeezenodule_v2_3d", "label": "v2"}],
            "stacks": [{"model": "v2", "columns": ["diameter_mm"], "label": "v2+d"}],
            "folds": {"count": 3, "inner_fraction": 0.25, "inner_rotation": True},
            "train": {"seeds": 3},
            "others": [{"label": "theirs", "path": "t.csv"}],
        }
    )


def test_confounded_labels_stand_in_red_above_everything(
    published: tuple[Report, ReportContent], text: str, config: Any
) -> None:
    report, _ = published
    html = report.path.read_text(encoding="utf-8")
    assert html.count('<div class="banner" role="alert">') == 1
    assert html.index('class="banner"') < html.index('id="summary"', html.index("<main>"))
    (check,) = report.metrics["confounding"]
    assert "Labels are confounded with how scans were made." in text
    assert f"has an AUC of {check['auc']:.3f} ({check['low']:.3f} to {check['high']:.3f})" in text
    assert check["found"] in report.notes
    told = results_table(report.metrics)
    assert told.startswith("WARNING: labels are confounded with acquisition; acquisition alone")
    assert "Labels are confounded with acquisition: " in methods(published, config)


def test_labels_that_are_not_confounded_have_no_banner(
    published: tuple[Report, ReportContent],
) -> None:
    _, content = published
    metrics = dict(content.metrics) | {"confounding": []}
    plain = dataclasses.replace(content, metrics=metrics)
    assert _banners(plain, {"ok": True}) == []
    assert "WARNING" not in results_table(metrics)
    # A leak is told first.
    leak = {"ok": False, "heading": "leak", "wrong": ["x"], "advice": "y"}
    assert _banners(content, leak)[0]["heading"] == "leak"
    assert len(_banners(content, leak)) == 2


def test_the_table_of_all_is_on_the_page_on_the_terminal_and_in_a_file(
    published: tuple[Report, ReportContent], text: str
) -> None:
    report, _ = published
    overview = report.metrics["overview"]
    assert overview["reference"] == "diameter_mm alone"
    file = pd.read_csv(report.path.parent / "comparison.csv")
    assert file["model"].tolist() == [
        *("v2", "v2+d", "theirs", "diameter+intensity", "acquisition"),
        "diameter_mm alone",
    ]
    assert file["kind"].tolist()[:5] == ["network", "stack", "other", "baseline", "acquisition"]
    v2 = file.iloc[0]
    assert (v2["parameters"], v2["patches_per_s"], v2["minutes"]) == (900_578, 200.0, 11.25)
    table = text[text.index("Size-matched AUC: of pairs") : text.index("Differences in pairs")]
    told = results_table(report.metrics)
    assert max(map(len, told.splitlines())) <= 118
    for row in overview["rows"]:
        own = [f"{row['auc']:.3f}", f"{row['size_matched_auc']:.3f}"]
        for words in (row["model"], *own):
            assert words in table, words
            assert words in told, words
        if row["difference"] is not None:
            assert f"{row['difference']:+.3f}".replace("-", "\N{MINUS SIGN}") in table
            assert f"{row['difference']:+.3f}" in told
    for words in ("v2 network", "v2+d stack", "acquisition baseline", "901 k", "123 M", "11.2"):
        assert words in table, words
    for words in ("900,578", "123 M", "200", "11.2", "stack", "size"):
        assert words in told, words
    assert "extent is not there: no column nz." in table
    assert "extent: not available; no column nz" in told


def test_baselines_stand_in_tables_and_not_in_figures_of_their_own(
    published: tuple[Report, ReportContent],
) -> None:
    names = {p.name for p in (published[0].path.parent / "figures").iterdir()}
    assert {"probabilities-v2.svg", "probabilities-v2-d.svg", "probabilities-theirs.svg"} <= names
    assert not any("intensity" in name or "acquisition" in name for name in names)


def test_no_probability_stands_without_of_what(
    published: tuple[Report, ReportContent], text: str, config: Any
) -> None:
    report, _ = published
    of_what = re.compile(r"probabilit(y|ies) (of|that)\b")
    allowed = re.compile(r"A probability here is the probability|as a probability, in proportion")
    for what in (text, results_table(report.metrics), methods(published, config)):
        prose = re.sub(r"\s+", " ", what.split("## Checklists")[0])
        assert "probabilit" in prose
        for found in re.finditer(r"[Pp]robabilit", prose):
            near = prose[found.start() : found.start() + 60]
            around = prose[max(0, found.start() - 40) : found.start() + 60]
            assert of_what.match(near.lower()) or allowed.search(around), around


def test_what_labels_rest_on_is_counted(
    published: tuple[Report, ReportContent], text: str, config: Any
) -> None:
    report, _ = published
    stored = json.loads((report.path.parent / "metrics.json").read_text())
    assert stored == report.metrics
    assert stored["label"]["meaning"] == "reader_rating"
    assert stored["label"]["basis"] == {"not stated": 90, "pathology": 30}
    for what in (text, results_table(report.metrics), methods(published, config)):
        assert "not stated (90)" in what
        assert "pathology (30)" in what


def test_the_parts_of_the_folds_are_counted(
    published: tuple[Report, ReportContent], text: str
) -> None:
    _, content = published
    table = text[text.index("Who was used for what") : text.index("Held-out findings were scored")]
    for row in content.parts:
        for part in ("train", "stop", "inner", "outer"):
            low, high = row[part]["findings"]
            assert (str(low) if low == high else f"{low} to {high}") in table
    assert "Chooses the epoch" in table
    assert "scored 25 times by trained models, of 2 recipes; 1 time by a training" in text


def test_parts_are_those_of_the_folds(make_predictions: MakePredictions) -> None:
    rows = make_predictions()
    label = pd.array(rows["label"], dtype="Int64")
    label[5] = pd.NA
    findings = rows[["finding_id", "patient_id"]].assign(label=label)
    folds = make_folds(
        findings,
        FoldsConfig(count=3, inner_fraction=0.34, repeats=2, least_of_each_label=1),
        seed=0,
        stopping=True,
        pieces=2,
    )
    counted = parts_of_folds(folds)
    assert [row["fold"] for row in counted] == list(range(6))
    for row in counted:
        both = [folds.parts(row["fold"], piece) for piece in range(2)]
        sizes = sorted(len(parts.train) for parts in both)
        assert row["train"]["findings"] == (sizes[0], sizes[1])
        # The inner pieces of a fold share nobody.
        total = sum(len(parts.inner) for parts in both)
        assert row["inner"]["findings"] == (total, total)
        outer = findings.iloc[both[0].outer]
        assert row["outer"]["patients"][0] == outer["patient_id"].nunique()
        assert row["outer"]["positives"][0] == int((outer["label"] == 1).sum())


def test_scorings_are_counted_by_recipe() -> None:
    rows = [("v2", fold, seed, identity) for identity in "ab" for fold in (0, 1) for seed in (0, 1)]
    rows += [("v1", 0, 0, "c"), ("v1", 0, 0, "c")]
    table = pd.DataFrame(rows, columns=["model", "fold", "seed", "identity"])
    assert count_scorings(table) == {"times": 10, "recipes": 3, "again": 1}
    # Identities that name the seed are no more recipes for that.
    named = table.assign(identity=table["identity"] + table["seed"].astype(str))
    assert count_scorings(named)["recipes"] == 3


def test_costs_leave_out_what_units_do_not_know() -> None:
    assert costs_of_models([]) == {}
    older = [{"model": "v1", "parameters": 5, "minutes": 2.0}, {"model": "v1", "parameters": 5}]
    assert costs_of_models(older) == {"v1": {"parameters": 5, "minutes": 2.0}}


def test_methods_tell_the_new_recipe(published: tuple[Report, ReportContent], config: Any) -> None:
    told = methods(published, config)
    for words in (
        "`rating` as a probability, in proportion from 1 (none) to 5 (certain)",
        "trained from 3 different starts; its answer is their mean",
        "Each of the 3 models of a fold kept another such piece",
        "thresholds, recalibrations and stacks come from it",
        "The weights of the last epoch were kept, so that no patients chose the epoch.",
        "`v2+d` is a logistic regression on the logit of the probability of `v2`",
        "`diameter+intensity` (the diameter, its logarithm and statistics of the values",
        "`acquisition` (how scans were made, and nothing of the findings)",
        "Predictions made elsewhere on the same folds were evaluated likewise: `theirs`.",
        "scored 25 times by trained models, of 2 recipes",
        "whose sizes differ by a factor of 1.25 at most",
        "p values corrected by Holm's method over 4 models",
    ):
        assert words in told, words
    # Soft targets have no classes that could weigh the same.
    assert "same total weight" not in told


def test_methods_of_an_older_run_say_that_the_inner_part_served_twice(
    published: tuple[Report, ReportContent], config: Any
) -> None:
    report, _ = published
    old = [
        unit
        | {
            "findings": {"train": 9, "inner": 8, "outer": 7},
            "positives": dict.fromkeys(("train", "inner", "outer"), 3),
        }
        for unit in UNITS
    ]
    train = config.train.model_copy(update={"monitor": "val_auc"})
    facts = MethodsFacts(
        config=config.model_copy(update={"train": train}), metrics=report.metrics, units=old
    )
    told = methods_text(facts)
    assert "the epoch, the thresholds and any recalibration were chosen on it" in told
    assert "with the best AUC on the inner part were kept" in told
    assert "stopping part" not in told


def test_words_of_baselines_follow_their_columns(
    published: tuple[Report, ReportContent], config: Any
) -> None:
    report, _ = published
    models = dict(report.metrics["models"])
    models["intensity"] = models["diameter+intensity"]
    models["nodule"] = models.pop("diameter+intensity")
    baselines = [
        BaselineConfig(kind="intensity"),
        BaselineConfig.model_validate(
            {"kind": "columns", "columns": ["lobulation", "age"], "label": "nodule"}
        ),
    ]
    told = methods_text(
        MethodsFacts(
            config=config.model_copy(update={"baselines": baselines}),
            metrics=report.metrics | {"models": models},
        )
    )
    assert "`nodule` (`lobulation` and `age`)" in told
    assert "`intensity` (statistics of the values inside the finding" in told
    assert StackConfig.model_validate(config.stacks[0].model_dump()).key == "v2+d"
