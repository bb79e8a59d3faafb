"""Who was developed and evaluated on whom: the design, the partitions, what the audit found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nodulenet.config.schema import MedMnistSource
from nodulenet.report.methods.facts import MethodsFacts
from nodulenet.report.methods.paragraph import Paragraph
from nodulenet.report.methods.words import count, listed, span


def design(facts: MethodsFacts) -> Paragraph:
    """Which models were evaluated, and how."""
    tripod = {"4": "the objectives in clinical terms"}
    models = listed(f"`{name}`" for name in facts.metrics["models"])
    if facts.validation:
        bundle = facts.validation["bundle"]
        return Paragraph(
            "Design",
            (
                f"{models} of the bundle `{bundle['name']}` answered for labelled findings of "
                f"`{facts.config.name}`, as they had been trained elsewhere; nothing was trained "
                f"on these data.",
            ),
            claim={"6": "the clinical question", "33": _on_shared_patients(facts.audit)},
            tripod=tripod,
        )
    folds = facts.metrics["data"]["folds"]
    how = (
        f"cross-validation over {len(folds)} held-out folds"
        if len(folds) > 1
        else "one held-out part of the data"
    )
    return Paragraph(
        "Design",
        (f"{models} were developed and evaluated internally by {how}.",),
        claim={"6": "the clinical question", "32": ""},
        tripod=tripod,
    )


def partitions(facts: MethodsFacts) -> Paragraph:
    """How findings were divided into folds and their parts, with what the audit found."""
    folds = facts.config.folds
    number = len(facts.metrics["data"]["folds"])
    by_patient = "All findings of a patient were in one fold."
    sentences: list[str] = []
    if folds.kind == "grouped":
        again = (
            f", and {folds.repeats} times over with other assignments" if folds.repeats > 1 else ""
        )
        sentences = [
            f"Findings were divided into {folds.count} folds, stratified by label and grouped by "
            f"patient{again}.",
            by_patient,
        ]
    elif folds.kind in ("luna16", "luna16_grouped"):
        several = folds.subsets_per_fold > 1
        each = f", {folds.subsets_per_fold} neighbouring ones each" if several else ""
        sentences = [
            f"The {number} folds are the official subsets of LUNA16{each}.",
            "Findings of a held-out patient in other subsets were left out of that training."
            if folds.kind == "luna16"
            else by_patient,
        ]
    elif folds.kind == "holdout":
        own = isinstance(facts.config.source, MedMnistSource)
        sentences = [
            "The source's own test part was held out." if own else "One fixed part was held out."
        ]
    elif folds.kind == "column":
        sentences = [
            f"Each value of `{folds.column}` with enough findings was held out in turn, the "
            f"{number} folds; findings of a held-out patient elsewhere were left out of that "
            f"training."
        ]
    elif folds.kind == "dates":
        sentences = [
            f"Patients first seen on or after {folds.since} (`{folds.column}`) were held out."
        ]
    elif folds.path is not None:
        sentences = [f"The {number} folds were read from `{folds.path.name}`."]
    if folds.allow_shared_patients:
        sentences = [s for s in sentences if s != by_patient]
        sentences.append("Patients were allowed on both sides of a fold.")
    # Where the source or the file says who is inner, the configured share was not used.
    piece = (
        "part"
        if folds.kind in ("holdout", "file")
        else f"one of {max(2, round(1 / folds.inner_fraction))} equal pieces"
    )
    sentences += _inner(facts, piece)
    units = [u for u in facts.units if "findings" in u and "positives" in u]
    if units:
        parts = [
            f"{span(u['findings'][name] for u in units)} "
            f"({span(u['positives'][name] for u in units)} positive) {word}"
            for name, word in (
                ("train", "for training"),
                ("stop", "for the choice of the epoch"),
                ("inner", "for inner validation"),
                ("outer", "held out"),
            )
            if any(u["findings"].get(name) for u in units)
        ]
        sentences.append(f"Findings by model: {listed(parts)}.")
    if facts.scorings:
        times, recipes = facts.scorings["times"], facts.scorings["recipes"]
        sentences.append(
            f"Held-out findings were scored {count(times)} time{'s' if times > 1 else ''} by "
            f"trained models, of {count(recipes)} recipe{'s' if recipes > 1 else ''}."
        )
    sentences += _audit(facts.audit)
    return Paragraph(
        "Partitions",
        tuple(sentences),
        claim={"19": "", "20": ""},
        tripod={"12a": "considerations of sample size", "21": ""},
    )


def _inner(facts: MethodsFacts, piece: str) -> list[str]:
    """Who chose what inside the training patients."""
    config = facts.config
    if any("stop" not in u.get("findings", {"stop": 0}) for u in facts.units):
        # Of an older version, whose inner part chose the epoch as well.
        return [
            f"In every fold {piece} of the training patients was kept for inner validation: the "
            f"epoch, the thresholds and any recalibration were chosen on it, nothing on the "
            f"held-out part."
        ]
    sentences = [
        f"In every fold {piece} of the training patients was kept as an inner part: thresholds, "
        f"recalibrations{' and stacks' if config.stacks else ''} come from it, nothing from the "
        f"held-out part."
    ]
    if config.folds.inner_rotation:
        sentences.append(
            f"Each of the {config.train.seeds} models of a fold kept another such piece, and "
            f"thresholds were chosen on all of them."
        )
    if config.train.monitor is not None:
        sentences.append(
            "Further patients of the training, who are in no other part, chose the epoch."
        )
    return sentences


def independence(facts: MethodsFacts) -> Paragraph:
    """What the audit found in common between these data and those of the training."""
    return Paragraph(
        "Independence of the data",
        tuple(_audit(facts.audit)),
        claim={"20": ""} if all(c["ok"] for c in facts.audit) else {},
        tripod={"16": "differences in setting, eligibility, outcome and acquisition"},
    )


def _audit(checks: Iterable[Mapping[str, Any]]) -> list[str]:
    found = [str(c["found"]) for c in checks]
    return [f"The audit for leaks reports: {'; '.join(found)}."] if found else []


def _on_shared_patients(checks: Iterable[Mapping[str, Any]]) -> str:
    """What the authors have to say where data are not shown to be of other patients."""
    answers = [c["ok"] for c in checks]
    if answers and all(answers):
        return ""
    known = any(ok is False for ok in answers)
    return f"{'why' if known else 'whether'} patients of the training are among these"
