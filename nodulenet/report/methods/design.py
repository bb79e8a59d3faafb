"""Who was developed and evaluated on whom: the design, the partitions, what the audit found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nodulenet.config.schema import MedMnistSource
from nodulenet.report.methods.facts import MethodsFacts
from nodulenet.report.methods.paragraph import Paragraph
from nodulenet.report.methods.words import listed, span


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
    sentences.append(
        f"In every fold {piece} of the training patients was kept for inner validation: the epoch, "
        f"the thresholds and any recalibration were chosen on it, nothing on the held-out part."
    )
    units = [u for u in facts.units if "findings" in u and "positives" in u]
    if units:
        parts = [
            f"{span(u['findings'][name] for u in units)} "
            f"({span(u['positives'][name] for u in units)} positive) {word}"
            for name, word in (
                ("train", "for training"),
                ("inner", "for inner validation"),
                ("outer", "held out"),
            )
        ]
        sentences.append(f"Findings by model: {listed(parts)}.")
    sentences += _audit(facts.audit)
    return Paragraph(
        "Partitions",
        tuple(sentences),
        claim={"19": "", "20": ""},
        tripod={"12a": "considerations of sample size", "21": ""},
    )


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
