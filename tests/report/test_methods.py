"""The methods text: every number of it is a fact, and nothing in it did not happen."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodulenet.config.schema import Config
from nodulenet.ct.windows import WINDOWS
from nodulenet.report import ReportContent
from nodulenet.report.methods import MethodsFacts, methods_text, write_methods
from nodulenet.report.methods.checklists import CLAIM, TRIPOD_AI

AUDIT = [
    {"check": "patients", "ok": True, "found": "no patients on two sides of a fold"},
    {"check": "close findings", "ok": False, "found": "17 close findings on two sides of a fold"},
]
VALIDATION: dict[str, Any] = {
    "bundle": {
        "name": "trained",
        "hash": "abcdef",
        "models": {
            "v2": {"fold_models": 5, "calibration": {"kind": "platt", "a": 1.5, "b": 0.25}},
            "v1x": {"fold_models": 5, "calibration": None},
        },
        "training": {
            "source": "luna25",
            **{"findings": 1233, "patients": 424, "positives": 111},
            "run": {"findings": 6163, "patients": 2120, "positives": 555},
        },
    },
    "counts": {"findings": 170, "with_label": 150, "with_label_and_patch": 140},
    "patients": {"check": "p", "ok": True, "found": "none of the 60 patients was trained on"},
    "recalibration": {
        "share": 0.35,
        "seed": 11,
        "inner": {"patients": 21, "findings": 42, "positives": 14, "negatives": 28},
        "outer": {"patients": 39, "findings": 78, "positives": 26, "negatives": 52},
    },
}


def config(**fields: Any) -> Config:
    tree = {
        "name": "study",
        "run": "out",
        "seed": 91,
        "label_meaning": "reader_rating",
        "label_rule": {"column": "malignancy", "negative": [1, 2], "positive": [4, 5]},
        "source": {"kind": "points", "scans": "s", "points": "p.csv"},
        "patch": {"size": [48, 48, 40], "spacing_mm": [0.6, 0.6, 1.1], "windows": ["lung"]},
        "models": [
            {"name": "squeezenodule_v2_3d", "label": "v2", "normalization": "batch"},
            {"name": "squeezenet_1.0_3d", "label": "v1x", "dropout_rate": 0.37},
        ],
        "folds": {"count": 3, "inner_fraction": 0.25},
        "train": {
            "epochs": 77,
            "batch_size": 13,
            "monitor": "val_auc",
            "patience": 9,
            "augment": {"rotations": "none", "shift_voxels": 3},
        },
    }
    return Config.model_validate(tree | fields)


def unit(model: str, fold: int) -> dict[str, Any]:
    return {
        "model": model,
        "fold": fold,
        "parameters": {"v2": 900_578, "v1x": 735_971}[model],
        "epochs": 60 + fold,
        "best_epoch": 50 + fold,
        "findings": {
            "train": 700 + fold,
            "stop": 77 + fold,
            "inner": 170 + fold,
            "outer": 210 + fold,
        },
        "positives": {"train": 201, "stop": 21, "inner": 54, "outer": 65 + fold},
    }


MakeFacts = Callable[..., MethodsFacts]


@pytest.fixture(scope="module")
def make_facts(make_content: Callable[..., ReportContent]) -> MakeFacts:
    metrics = make_content().metrics

    def make(**changes: Any) -> MethodsFacts:
        values: dict[str, Any] = {
            "config": config(),
            "metrics": metrics,
            "manifest": {
                "nodulenet": "0.9.3",
                "versions": {"keras": "3.15.1"},
                "stages": {"train": {"command": "nodulenet train study.yaml", "source": {}}},
                "failures": [{"what": "scan s9 (4 findings)", "error": "unreadable"}],
            },
            "audit": AUDIT,
            "units": [unit(m, f) for m in ("v2", "v1x") for f in range(3)],
        }
        return MethodsFacts(**(values | changes))

    return make


def body(text: str) -> str:
    """The paragraphs, without their item tags and without the tables."""
    prose = text.split("## Checklists")[0]
    return "\n".join(line for line in prose.splitlines() if not line.startswith("["))


def numbers(text: str) -> Iterator[float]:
    """The numbers of a text; those inside a word (v2, LUNA16) belong to the name."""
    for match in re.finditer(r"(?<![\w.])\d[\d,]*(?:\.\d+)*(?![\w])", text):
        plain = match.group().replace(",", "").rstrip(".")
        if plain.count(".") < 2:  # versions are no numbers
            yield float(plain)


def values(fact: Any) -> Iterator[float]:
    """Every number that stands in the facts, and those inside their texts."""
    if isinstance(fact, bool) or fact is None:
        return
    if isinstance(fact, int | float):
        yield float(fact)
    elif isinstance(fact, dict):
        for key, item in fact.items():
            yield from values(key)
            yield from values(item)
    elif isinstance(fact, list | tuple):
        yield float(len(fact))
        for item in fact:
            yield from values(item)
    else:
        yield from numbers(str(fact))


def known(facts: MethodsFacts) -> set[float]:
    plain = {
        "config": facts.config.model_dump(mode="json"),
        "metrics": facts.metrics,
        "manifest": facts.manifest,
        "audit": facts.audit,
        "units": facts.units,
        "validation": facts.validation,
        "windows": WINDOWS,
    }
    found = {abs(v) for v in values(plain)}
    # Shares told as per cent, AUCs with three decimals, pieces of an inner fraction.
    found |= {round(100 * v, 9) for v in found if v <= 1}
    found |= {round(v, 3) for v in found}
    return found | {float(max(2, round(1 / facts.config.folds.inner_fraction)))}


NOTHING = {"flips": False, "rotations": "none", "shift_voxels": 0}

VARIANTS: dict[str, dict[str, Any]] = {
    "development": {},
    "validation": {"validation": VALIDATION, "audit": [VALIDATION["patients"]], "units": ()},
    "luna16": {
        "config": config(
            label_rule=None,
            label_meaning="candidate",
            source={
                "kind": "luna16",
                "root": "r",
                "negatives_per_positive": 6.5,
                "leave_out_irrelevant": True,
                "phantom": {"scans": 33, "seed": 8},
            },
            folds={"kind": "luna16", "subsets_per_fold": 2},
            train={
                "optimizer": "sgd",
                "schedule": "constant",
                "negatives_per_positive": 2.5,
                "label_smoothing": 0.05,
                "deterministic": True,
                "augment": {"noise": 12.5, "hu_offset": 7.5, "rotations": "none"},
            },
        )
    },
    "lidc": {
        "config": config(
            source={"kind": "lidc", "xml": "x", "dicom": "d", "minimum_readers": 3},
            folds={"repeats": 4},
            patch={"form": "2.5d", "size": [36, 36], "windows": ["lung", [-160, 240]]},
            models=[{"name": "squeezenodule_v2", "label": "v2", "weight_decay": 0.0003}],
        )
    },
    "held out": {
        "config": config(
            source={"kind": "medmnist", "archive": "a.npz"},
            folds={"kind": "holdout"},
            patch={"windows": [[0, 255]]},
        )
    },
    "little known": {"manifest": {}, "audit": (), "units": ()},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_number_is_a_fact(make_facts: MakeFacts, name: str) -> None:
    facts = make_facts(**VARIANTS[name])
    found = list(numbers(body(methods_text(facts))))
    assert len(found) > 15
    allowed = known(facts)
    assert [n for n in found if n not in allowed] == []


def test_a_number_that_is_no_fact_would_be_seen(make_facts: MakeFacts) -> None:
    """The check above can fail."""
    facts = make_facts()
    assert 31_337.0 not in known(facts)
    assert list(numbers("`v2` of LUNA16 has 31,337 weights, 0.25 of them 3.15.1")) == [31337, 0.25]


def test_the_facts_are_told(make_facts: MakeFacts) -> None:
    text = methods_text(make_facts())
    for words in (
        "48 x 48 x 40 voxels (z, y, x) at 0.6 x 0.6 x 1.1 mm",
        "positive where `malignancy` is from 4 to 5, and negative where it is from 1 to 2",
        "3 folds, stratified by label and grouped by patient",
        "one of 4 equal pieces of the training patients",
        "700 to 702 (201 positive) for training",
        "17 close findings on two sides of a fold",
        "`v2` (squeezenodule_v2_3d) has 900,578 parameters, batch normalisation",
        "dropout at a rate of 0.37",
        "at most 77 epochs in batches of 13 with AdamW",
        "training ended after 9 epochs without progress",
        "6 models were trained, over 60 to 62 epochs",
        "bootstrap resamples of whole patients",
        "Platt scaling, temperature scaling and isotonic regression were fitted on the inner part",
        "keras 3.15.1",
        "scan s9 (4 findings)",
        "nodulenet 0.9.3",
        "not pathology",
    ):
        assert words in text, words


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("mirrored", {"augment": {"flips": False, "rotations": "none", "shift_voxels": 0}}),
        ("changed at random", {"augment": NOTHING}),
        ("turned by", {"augment": {"rotations": "none"}}),
        ("by one resampling", {"augment": {"rotations": "quarter_turns"}}),
        ("zoomed by up to a share of 0.1", {"augment": {"rotations": "in_plane"}}),
        ("contrast by up to a share of 0.05", {"augment": {"rotations": "in_plane"}}),
        ("blurred with a standard deviation of up to 0.6", {"augment": NOTHING}),
        ("sharpened with a gain of up to 0.4", {"augment": NOTHING}),
        ("moving average of the weights with a momentum of 0.98", {"weight_average": None}),
        ("A second round of 4 epochs drew a share of 0.3", {"hard_negatives": None}),
        ("mixed precision (`mixed_bfloat16`)", {"precision": "float32"}),
        ("with the best AUC on the stopping part", {"monitor": None, "patience": None}),
        ("smoothed", {"label_smoothing": 0}),
        ("same total weight", {"class_weight": None}),
        ("without progress", {"patience": None}),
        ("clipped", {"clip_norm": None}),
        ("warm-up", {"warmup_fraction": 0}),
        ("cosine", {"schedule": "constant"}),
        ("weight decay", {"optimizer": "adam"}),
        ("deterministic", {"deterministic": False}),
        ("drawn afresh", {"negatives_per_positive": None, "hard_negatives": None}),
    ],
)
def test_what_was_not_done_is_not_told(
    make_facts: MakeFacts, words: str, changes: dict[str, Any]
) -> None:
    done = {
        "augment": {
            **{"flips": True, "rotations": "in_plane", "shift_voxels": 1, "zoom": 0.1},
            **{"hu_scale": 0.05, "blur": 0.6, "sharpen": 0.4},
        },
        "label_smoothing": 0.1,
        "monitor": "val_auc",
        "weight_average": 0.98,
        "hard_negatives": {"epochs": 4, "share": 0.3},
        "precision": "mixed_bfloat16",
        "patience": 5,
        "deterministic": True,
        "negatives_per_positive": 2,
    }
    square = {"patch": {"size": [32, 32, 32], "windows": ["lung"], "margin_voxels": 12}}
    assert words in methods_text(make_facts(config=config(train=done, **square)))
    assert words not in methods_text(make_facts(config=config(train=done | changes, **square)))


def test_what_the_metrics_lack_is_not_told(make_facts: MakeFacts) -> None:
    full = make_facts()
    assert all(w in methods_text(full) for w in ("## FROC", "## Comparison", "## Baselines"))
    models = {
        name: model
        | {
            "froc": None,
            "calibration": None,
            "recalibration": {"available": False, "why": "no inner rows", "after": {}},
            "operating_points": [],
            "pooled": {"auc": None, "note": "one class"},
        }
        for name, model in list(full.metrics["models"].items())[:1]
    }
    little = dict(full.metrics) | {
        "models": models,
        "comparisons": [],
        "subgroups": [],
        "size_only": {"available": False, "why": "no column"},
        "brock": {"available": False},
    }
    text = methods_text(dataclasses.replace(full, metrics=little))
    for words in (
        "FROC",
        "Comparison of models",
        "## Baselines",
        "## Calibration",
        "## Discrimination",
        "## Subgroups",
        "## Operating points",
        "DeLong",
        "Platt",
    ):
        assert words not in text.split("## Checklists")[0], words
    assert "| 28 | performance metrics | **not known" in text
    assert "| 29 | uncertainty and significance | **not known" in text


def test_a_comparison_of_several_models_tells_its_interval_and_holm(
    make_facts: MakeFacts, make_content: Callable[..., ReportContent]
) -> None:
    two = make_facts()
    interval = "AUCs with its 95% interval from a paired bootstrap of whole patients and by DeLong"
    assert interval in methods_text(two)
    # The one pair is not corrected; the two models that are held against the size are.
    assert "Holm's method over 1" not in methods_text(two)
    assert "p values corrected by Holm's method over 2 models" in methods_text(two)

    three = make_content(models=("v2", "v1x", "third")).metrics
    text = methods_text(make_facts(metrics=three))
    # A margin takes the first model as the reference.
    assert "`v1x` with `v2` and `third` with `v2`" in text
    assert interval in text
    assert "P values were corrected by Holm's method over 2 pairs." in text

    none = [c | {"patient_bootstrap": {"low": None}} for c in three["comparisons"]]
    text = methods_text(make_facts(metrics=dict(three) | {"comparisons": none}))
    assert "AUCs with a paired bootstrap of whole patients and by DeLong" in text


def test_the_probability_of_the_size_is_told_where_there_is_one(make_facts: MakeFacts) -> None:
    full = make_facts()
    size = full.metrics["size_only"]

    def told(changes: dict[str, Any], **more: Any) -> str:
        calibration = {"calibration": size["calibration"] | changes}
        metrics = dict(full.metrics) | {"size_only": size | calibration}
        return methods_text(make_facts(metrics=metrics, **more))

    text = told({"folds_left_out": []})
    assert (
        "a logistic regression on its logarithm, fitted on the inner part of each fold and applied"
    ) in text
    assert "none could be fitted" not in text
    left_out = {"folds_left_out": [2], "fits": {"0": {}, "1": {}}}
    assert "In 1 of 3 folds none could be fitted." in told(left_out)
    assert "logarithm, fitted on the part set aside for it" in told({}, validation=VALIDATION)

    text = told({"available": False, "why": "no inner rows"})
    assert "The size alone" in text
    assert "logistic regression" not in text


def rows(text: str, heading: str) -> dict[str, str]:
    part = text.split(f"### {heading}")[1].split("\n\n")[1]
    cells = [line.strip("| ").split(" | ") for line in part.splitlines()[2:]]
    return {cell[0]: cell[2] for cell in cells}


@pytest.mark.parametrize("name", VARIANTS)
def test_tags_and_tables_agree_and_every_item_has_a_row(make_facts: MakeFacts, name: str) -> None:
    text = methods_text(make_facts(**VARIANTS[name]))
    tables = {"CLAIM": rows(text, "CLAIM, 2024 update"), "TRIPOD+AI": rows(text, "TRIPOD+AI")}
    assert list(tables["CLAIM"]) == list(CLAIM)
    assert list(tables["TRIPOD+AI"]) == list(TRIPOD_AI)
    tagged: dict[str, set[str]] = {"CLAIM": set(), "TRIPOD+AI": set()}
    for line in text.splitlines():
        if line.startswith("["):
            for part in line.strip("[]").split("; "):
                guideline, _, items = part.partition(" ")
                tagged[guideline] |= {item.rstrip("*") for item in items.split(", ")}
    for guideline, table in tables.items():
        answered = {item for item, where in table.items() if "*" in where.replace("**", "")}
        assert answered == tagged[guideline]
    headings = set(re.findall(r"^## (.+)$", text, re.MULTILINE))
    for where in (w for table in tables.values() for w in table.values()):
        assert set(re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", where)) <= headings


def test_the_guidelines_are_whole() -> None:
    """44 items of CLAIM 2024; 27 of TRIPOD+AI, 52 with their letters."""
    assert list(CLAIM) == [str(n) for n in range(1, 45)]
    assert {int(re.sub(r"\D", "", item)) for item in TRIPOD_AI} == set(range(1, 28))
    assert len(TRIPOD_AI) == 52
    assert [i for i, (about, _) in TRIPOD_AI.items() if about == "E"] == ["12f", "12g", "20c", "24"]
    assert [i for i, (about, _) in TRIPOD_AI.items() if about == "D"] == [
        *("9a", "12a", "12b", "12c", "15", "22", "27a", "27b")
    ]


def test_what_no_software_knows_is_left_to_the_authors(make_facts: MakeFacts) -> None:
    text = methods_text(make_facts())
    claim, tripod = rows(text, "CLAIM, 2024 update"), rows(text, "TRIPOD+AI")
    for item in ("5", "8", "11", "16", "21", "34", "44"):
        assert claim[item].startswith("**not known to the software")
    for item in ("3a", "5b", "10", "17", "18a", "19", "25"):
        assert tripod[item].startswith("**not known to the software")
    assert claim["33"].startswith("**not known")
    assert tripod["12g"] == "about the evaluation of an existing model"


def test_a_validation_is_told_as_one(make_facts: MakeFacts) -> None:
    text = methods_text(make_facts(**VARIANTS["validation"]))
    for words in (
        "external validation of a model",
        "nothing was trained on these data",
        "none of the 60 patients was trained on",
        "6,163 findings of 2,120 patients, 555 of them positive",
        "`v2` is the mean of its 5 fold models, calibrated by Platt scaling",
        "`v1x` is the mean of its 5 fold models.",
        "A share of 0.35 of the patients, drawn at random (seed 11)",
        "the other 78 findings of 39 patients, 26 positive",
        "on the part set aside for it",
        "Of 170 findings 150 have a label, and 140 of them a patch",
    ):
        assert words in text, words
    older = json.loads(json.dumps(VALIDATION))
    del older["bundle"]["training"]["run"]
    text_of_older = methods_text(make_facts(**VARIANTS["validation"] | {"validation": older}))
    assert "its out-of-fold predictions are of 1,233 findings" in text_of_older
    for words in ("## Training", "## Partitions", "epochs", "inner part of each fold"):
        assert words not in text
    claim, tripod = rows(text, "CLAIM, 2024 update"), rows(text, "TRIPOD+AI")
    assert claim["33"] == "*Design*"
    assert claim["27"] == "*Predictions*"
    assert tripod["12f"].startswith("*Part for recalibration*")
    assert tripod["12c"] == "about development: see the paper on the model"


@pytest.mark.parametrize(("ok", "word"), [(False, "why"), (None, "whether")])
def test_data_that_are_not_shown_to_be_new_do_not_count_as_external(
    make_facts: MakeFacts, ok: bool | None, word: str
) -> None:
    check = {"check": "p", "ok": ok, "found": "something"}
    text = methods_text(make_facts(validation=VALIDATION, audit=[check], units=()))
    where = rows(text, "CLAIM, 2024 update")["33"]
    assert where == f"in part: *Design*; to add: {word} patients of the training are among these"


def test_one_model_and_a_real_config_from_json(make_facts: MakeFacts, tmp_path: Path) -> None:
    """Facts as they come back from files: lists, strings, no NumPy."""
    facts = make_facts()
    again = dataclasses.replace(
        facts,
        metrics=json.loads(json.dumps(facts.metrics)),
        manifest=json.loads(json.dumps(facts.manifest)),
    )
    file = write_methods(tmp_path / "methods.md", again)
    assert file.read_text(encoding="utf-8") == methods_text(facts)
    assert file.read_text(encoding="utf-8").endswith("2024.\n")
    assert np.isfinite(list(numbers(body(file.read_text())))).all()
