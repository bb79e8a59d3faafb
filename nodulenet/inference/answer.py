"""From patches to answers: probabilities, calls, conformal sets and doubts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.config.meaning import MEANINGS
from nodulenet.evaluation.prevalence import rebased
from nodulenet.inference.answering import Chosen
from nodulenet.inference.answers import INDETERMINATE, Answers, OperatingPoint
from nodulenet.inference.bundle import Bundle
from nodulenet.inference.bundled_model import BundledModel
from nodulenet.inference.cutting import CutScan
from nodulenet.inference.doubts import finding_warnings
from nodulenet.training.identities import scan_uids, shared_identities


def answer_cuts(
    bundle: Bundle, model: BundledModel, how: Chosen, cuts: Sequence[CutScan]
) -> list[Answers]:
    """The answers for the findings of several scans, whose patches are asked about together."""
    tables = [cut.table for cut in cuts]
    known = [
        cut.table.assign(**{k: v for k, v in cut.geometry.items() if k not in cut.table.columns})
        for cut in cuts
    ]
    answered = _answered(
        bundle,
        model,
        how,
        np.concatenate([cut.stored for cut in cuts]),
        pd.concat(tables, ignore_index=True),
        pd.concat(known, ignore_index=True),
    )
    ends = np.cumsum([len(table) for table in tables])
    made = answered.columns.difference(pd.concat(tables).columns, sort=False)
    results = []
    for cut, end in zip(cuts, ends, strict=True):
        # Of its own columns, not those that other scans' findings have.
        own = answered.iloc[end - len(cut.table) : end].reset_index(drop=True)
        table = own[[*cut.table.columns, *made]]
        warnings = (
            *cut.warnings,
            *_trained_on(cut.table, bundle),
            *bundle.engine_notes,
            *_warnings(model, bundle, how),
        )
        results.append(_answers(table, cut.failures, bundle, model, how, warnings))
    return results


def _answers(
    table: pd.DataFrame,
    failures: list[dict[str, str]],
    bundle: Bundle,
    model: BundledModel,
    how: Chosen,
    warnings: tuple[str, ...],
) -> Answers:
    return Answers(
        table=table,
        failures=failures,
        meaning=bundle.meaning,
        prevalence=bundle.prevalence if how.prevalence is None else how.prevalence,
        model=model.key,
        label_meaning=bundle.label_meaning,
        class_names=MEANINGS[bundle.label_meaning].class_names,
        bundle={
            "name": bundle.name,
            "hash": bundle.hash,
            "training_prevalence": bundle.prevalence,
            "engine": bundle.engine,
            **bundle.facts,
        },
        operating_point=_on_shown_scale(how, bundle),
        miss_rate=how.conformal.miss_rate if how.conformal else None,
        warnings=warnings,
    )


def _on_shown_scale(how: Chosen, bundle: Bundle) -> OperatingPoint | None:
    """The operating point with its threshold at the prevalence that is shown."""
    point = how.operating_point
    if point is None or how.prevalence is None:
        return point
    moved = rebased(np.array([point.threshold]), trained=bundle.prevalence, wanted=how.prevalence)
    return replace(point, threshold=float(moved[0]))


def _trained_on(table: pd.DataFrame, bundle: Bundle) -> tuple[str, ...]:
    """That a scan was in the training, whose answers for it are no answers for new patients."""
    names = scan_uids(table["scan_id"].dropna()) if "scan_id" in table.columns else []
    shared = shared_identities(names, bundle.training.get("scans_hash"))
    return tuple(
        f"scan {name} was in the training of {bundle.name}: its answers are better than those for "
        f"new patients would be"
        for name in shared
    )


def _warnings(model: BundledModel, bundle: Bundle, how: Chosen) -> tuple[str, ...]:
    synthetic = (
        (f"{bundle.name} was trained on synthetic scans: its answers say nothing about patients",)
        if bundle.training.get("phantom")
        else ()
    )
    return (*synthetic, *_doubts_of_model(model, bundle, how))


def _doubts_of_model(model: BundledModel, bundle: Bundle, how: Chosen) -> tuple[str, ...]:
    if model.calibration is None:
        return (
            f"{model.key} of {bundle.name} is not calibrated: its out-of-fold predictions do not "
            f"rise with the label, so its answers mean nothing",
        )
    if how.prevalence is not None:
        return (
            f"probabilities are re-based from the training's prevalence of "
            f"{bundle.prevalence:.3g} to {how.prevalence:.3g}, as if nothing else differed",
        )
    return ()


def _answered(
    bundle: Bundle,
    model: BundledModel,
    how: Chosen,
    stored: npt.NDArray[np.int16],
    table: pd.DataFrame,
    known: pd.DataFrame,
) -> pd.DataFrame:
    """The rows with their answers; ``known`` has their scans' geometry besides."""
    raw = bundle.ask(stored, model.key, findings=table)
    mean = raw.by_fold.mean(axis=0)

    def calibrated(probability: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return model.calibration.apply(probability) if model.calibration else probability

    def based(probability: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if how.prevalence is None:
            return probability
        return rebased(probability, trained=bundle.prevalence, wanted=how.prevalence)

    probability = calibrated(mean)
    # One model has no range; one of no width would look like certainty.
    low, high = (
        (raw.by_fold.min(axis=0), raw.by_fold.max(axis=0))
        if len(raw.by_fold) > 1
        else np.full((2, len(stored)), np.nan)
    )
    answered = table.assign(
        probability=based(probability),
        probability_raw=mean,
        fold_low=based(calibrated(low)),
        fold_high=based(calibrated(high)),
    )
    names = MEANINGS[bundle.label_meaning].class_names
    if how.operating_point is not None:
        # A threshold belongs to the training's scale, whatever prevalence is shown.
        above = probability >= how.operating_point.threshold
        answered["call"] = np.where(above, names[1], names[0]).astype(object)
    if how.conformal is not None:
        negative, positive = how.conformal.sets(mean)
        answered["conformal"] = np.select(
            [negative & positive, positive], [INDETERMINATE, names[1]], names[0]
        ).astype(object)
    said = finding_warnings(bundle, model, stored, known, raw.strangeness)
    return answered.assign(warnings=["; ".join(texts) for texts in said])
