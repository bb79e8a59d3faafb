"""What was measured, compared and found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodulenet.config.meaning import MEANINGS
from nodulenet.config.schema import BaselineConfig
from nodulenet.evaluation.kinds import ACQUISITION, BASELINE, OTHER
from nodulenet.report.methods.facts import MethodsFacts
from nodulenet.report.methods.paragraph import Paragraph
from nodulenet.report.methods.words import CALIBRATIONS, capital, count, listed

_RATIONALE = "why these measures"
_SUBGROUPS = "subgroups by sociodemographic characteristics"


def discrimination(metrics: Mapping[str, Any]) -> Paragraph:
    """The measures of ranking, and how their intervals were made."""
    pooled = [m["pooled"] for m in metrics["models"].values()]
    if not any(p.get("auc") for p in pooled):
        return Paragraph("Discrimination", ())
    settings = metrics["settings"]
    level = f"{100 * settings['level']:g}%"
    sentences = [
        f"Discrimination was measured by the area under the ROC curve (AUC) of all evaluated rows "
        f"together, with {level} intervals from {count(settings['n_bootstrap'])} bootstrap "
        f"resamples of whole patients (percentiles) and by DeLong's method, which takes findings "
        f"as independent."
    ]
    more = []
    if any(p.get("partial_auc") for p in pooled):
        more.append(
            f"the partial AUC up to a false-positive rate of {settings['max_fpr']:g}, standardised"
        )
    if any(p.get("average_precision") is not None for p in pooled):
        more.append("average precision")
    if any(p.get("sensitivity_at_specificity") for p in pooled):
        more.append(f"sensitivity at a specificity of {settings['specificity']:g}")
    if any(p.get("specificity_at_sensitivity") for p in pooled):
        more.append(f"specificity at a sensitivity of {settings['sensitivity']:g}")
    if any((p.get("size_matched_auc") or {}).get("available") for p in pooled):
        more.append(
            f"the AUC over pairs of findings whose sizes differ by a factor of "
            f"{settings['size_caliper']:g} at most (size-matched)"
        )
    if more:
        sentences.append(
            f"Further measures were {listed(more)}; intervals of proportions are Wilson's."
        )
    if len(metrics["data"]["folds"]) > 1:
        sentences.append(
            "Besides, each fold was measured by itself; mean and standard deviation over the folds "
            "are given apart from the pooled figures, and are no confidence interval."
        )
    return Paragraph(
        "Discrimination", tuple(sentences), claim={"28": "", "29": ""}, tripod={"12e": _RATIONALE}
    )


def calibration(facts: MethodsFacts) -> Paragraph:
    """The measures of calibration, and the recalibrations that were tried."""
    models = facts.metrics["models"]
    sentences = []
    if any(m.get("calibration") for m in models.values()):
        bins = {m["pooled"]["ece_bins"] for m in models.values() if m["pooled"].get("ece_bins")}
        sentences.append(
            "Calibration was measured by the Brier score, calibration slope, intercept and "
            "calibration in the large, the expected calibration error"
            + (f" ({max(bins)} bins)" if bins else "")
            + " and a reliability diagram."
        )
    done = [m["recalibration"] for m in models.values() if m.get("recalibration")]
    methods = list(
        dict.fromkeys(
            method
            for r in done
            if r["available"]
            for method, after in r["after"].items()
            if after["available"]
        )
    )
    claim = {"28": ""} if sentences else {}
    tripod = {"12e": _RATIONALE} if sentences else {}
    if methods:
        where = _fitted(facts, "measured, before and after, on")
        sentences.append(
            f"{capital(listed(CALIBRATIONS[m] for m in methods))} "
            f"{'were' if len(methods) > 1 else 'was'} fitted {where}."
        )
        if facts.validation:
            tripod |= {"12f": "", "24": "the updated model, if it is to be used"}
    return Paragraph("Calibration", tuple(sentences), claim=claim, tripod=tripod)


def operating_points(facts: MethodsFacts) -> Paragraph:
    """Which thresholds, and where they come from."""
    metrics = facts.metrics
    points = [p for m in metrics["models"].values() for p in m.get("operating_points", [])]
    chosen = list(dict.fromkeys(p["name"] for p in points if p["kind"] != "fixed"))
    fixed = list(dict.fromkeys(p["name"] for p in points if p["kind"] == "fixed"))
    if not points:
        return Paragraph("Operating points", ())
    of = MEANINGS[facts.config.label_meaning].probability_of
    sentences = [f"A finding counts as positive where the probability {of} reaches the threshold."]
    if chosen:
        where = _fitted(facts, "applied to")
        sentences.append(f"Thresholds were chosen {where}: {listed(chosen)}.")
    if fixed:
        sentences.append(f"The threshold {listed(fixed)} was fixed beforehand.")
    prevalences = metrics["settings"].get("prevalences") or []
    if prevalences:
        sentences.append(
            f"Predictive values are also given at a prevalence of "
            f"{listed(f'{p:g}' for p in prevalences)}, by Bayes' rule."
        )
    return Paragraph(
        "Operating points",
        tuple(sentences),
        claim={"28": ""},
        tripod={"15": "why these operating points suit the clinical purpose"},
    )


def comparisons(metrics: Mapping[str, Any]) -> Paragraph:
    """Which models were compared with which, and by which tests."""
    rows = [r for r in metrics.get("comparisons", []) if r.get("available")]
    if not rows:
        return Paragraph("Comparison of models", ())
    pairs = listed(f"`{r['first']}` with `{r['second']}`" for r in rows)
    intervals = [r["patient_bootstrap"] for r in rows if r["patient_bootstrap"]["low"] is not None]
    with_interval = f"its {100 * intervals[0]['level']:g}% interval from " if intervals else ""
    sentences = [
        f"Compared on the same findings were {pairs}, by the difference of their AUCs with "
        f"{with_interval}a paired bootstrap of whole patients and by DeLong's paired test."
    ]
    tests = [r["mcnemar"] for r in rows if (r.get("mcnemar") or {}).get("available")]
    if tests:
        sentences.append(
            f"Sensitivity and specificity at the operating point {tests[0]['operating_point']} "
            f"were compared by McNemar's exact test."
        )
    family = max(int(r.get("tests_in_family") or 1) for r in rows)
    if family > 1:
        sentences.append(f"P values were corrected by Holm's method over {family} pairs.")
    margin = metrics["settings"].get("margin")
    if margin is not None and any(r.get("non_inferiority") for r in rows):
        sentences.append(
            f"Non-inferiority was judged at a margin of {margin:g} of AUC, by the lower limit of "
            f"the bootstrap interval."
        )
    return Paragraph(
        "Comparison of models", tuple(sentences), claim={"29": ""}, tripod={"12e": _RATIONALE}
    )


def baselines(facts: MethodsFacts) -> Paragraph:
    """What the models were held against."""
    sentences = []
    size = facts.metrics.get("size_only") or {}
    if size.get("available"):
        sentences.append(
            f"The size alone (`{size['column']}`, known for {count(size['with_size'])} of "
            f"{count(size['findings'])} findings) was evaluated as a score like the models."
        )
        sentences += _size_as_probability(facts, size.get("calibration") or {})
        sentences += _against_size(size)
    sentences += _fitted_baselines(facts)
    if (facts.metrics.get("brock") or {}).get("available"):
        sentences.append(
            "The Brock (PanCan) malignancy probability was computed from its covariates and "
            "evaluated likewise."
        )
    lung_rads = facts.metrics.get("lung_rads") or {}
    if lung_rads.get("available"):
        sentences.append(
            f"Lung-RADS categories (ACR v2022), as readers gave them for "
            f"{count(lung_rads['with_category'])} of {count(lung_rads['findings'])} findings, were "
            "evaluated as an ordered score (1, 2, 3, 4A, 4B, 4X); none was derived from images."
        )
    return Paragraph("Baselines", tuple(sentences), claim={"28": ""}, tripod={"12e": _RATIONALE})


def subgroups(metrics: Mapping[str, Any]) -> Paragraph:
    """In which groups the figures were repeated."""
    columns = [s["column"] for s in metrics.get("subgroups") or [] if s.get("available", True)]
    if not columns:
        return Paragraph("Subgroups", ())
    smallest = metrics["settings"].get("smallest_group")
    flagged = (
        f" Groups with fewer than {smallest} findings of a class are marked." if smallest else ""
    )
    return Paragraph(
        "Subgroups",
        (
            f"The same figures were computed in groups by {listed(f'`{c}`' for c in columns)}, "
            f"to describe; no hypothesis was tested.{flagged}",
        ),
        claim={"30": "further analyses of robustness"},
        tripod={"23a": _SUBGROUPS},
    )


def froc(metrics: Mapping[str, Any]) -> Paragraph:
    """The rules and the size of the free-response analysis."""
    found = [
        m["froc"] for m in metrics["models"].values() if (m.get("froc") or {}).get("available")
    ]
    if not found:
        return Paragraph("FROC", ())
    first = found[0]
    return Paragraph(
        "FROC",
        (
            f"Free-response ROC analysis followed the rules of the LUNA16 challenge over "
            f"{count(first['scans'])} scans with {count(first['nodules'])} nodules: sensitivity "
            f"at {listed(f'{r:g}' for r in first['fp_rates'])} false positives a scan and their "
            f"mean, with intervals from {count(first['interval']['n_bootstrap'])} resamples of "
            f"the scans.",
        ),
        claim={"28": "", "29": ""},
        tripod={"12e": _RATIONALE},
    )


def results(metrics: Mapping[str, Any]) -> Paragraph:
    """The AUC of each model."""
    sentences = []
    for name, model in metrics["models"].items():
        auc = model["pooled"].get("auc")
        if auc:
            limits = auc["patient_bootstrap"]
            interval = (
                f" ({100 * limits['level']:g}% interval {limits['low']:.3f} to "
                f"{limits['high']:.3f}, patient bootstrap)"
                if limits.get("low") is not None
                else ""
            )
            sentences.append(f"`{name}`: AUC {auc['value']:.3f}{interval}.")
    if sentences:
        sentences.append("All figures are in `report.html` and `metrics.json`.")
    return Paragraph(
        "Results",
        tuple(sentences),
        claim={
            "37": "the figures of the report, in the paper",
            "38": "the figures of the report, in the paper",
            "39": "what the wrong results have in common (the report shows some)",
        },
        tripod={"23a": _SUBGROUPS},
    )


def _against_size(size: Mapping[str, Any]) -> list[str]:
    compared = [row for row in size.get("comparisons", []) if row.get("available")]
    if not compared:
        return []
    several = f", p values corrected by Holm's method over {len(compared)} models"
    return [
        "Every model was compared with it by a paired bootstrap of whole patients"
        + (several if len(compared) > 1 else "")
        + "."
    ]


def _fitted_baselines(facts: MethodsFacts) -> list[str]:
    """The logistic models without a network, predictions of others, and what acquisition says."""
    models = facts.metrics["models"]
    made = {m: r.get("kind") for m, r in models.items() if r.get("kind") in (BASELINE, ACQUISITION)}
    sentences = []
    if made:
        names = listed(f"`{name}` ({_baseline(name, kind, facts)})" for name, kind in made.items())
        sentences.append(
            f"Logistic regressions without a network were fitted on the same training parts and "
            f"evaluated on the same folds: {names}."
        )
    others = [m for m, r in models.items() if r.get("kind") == OTHER]
    if others:
        sentences.append(
            f"Predictions made elsewhere on the same folds were evaluated likewise: "
            f"{listed(f'`{name}`' for name in others)}."
        )
    for check in facts.metrics.get("confounding") or []:
        found = str(check["found"])
        sentences.append(f"{capital(found)}.")
    return sentences


def _baseline(name: str, kind: str | None, facts: MethodsFacts) -> str:
    config = next((b for b in facts.config.baselines if _is_called(b, name)), None)
    if kind == ACQUISITION:
        return "how scans were made, and nothing of the findings"
    if config is None or config.kind == "columns":
        columns = [c.column for c in (config.columns or [])] if config else []
        return listed(f"`{c}`" for c in columns) or "columns of the findings"
    diameter = "" if name == "intensity" else "the diameter, its logarithm and "
    return f"{diameter}statistics of the values inside the finding, round it and in its centre"


def _is_called(baseline: BaselineConfig, name: str) -> bool:
    return name == baseline.key or (baseline.kind == "intensity" and name == "intensity")


def _size_as_probability(facts: MethodsFacts, size: Mapping[str, Any]) -> list[str]:
    if not size.get("available"):
        return []
    left_out, fits = len(size["folds_left_out"]), len(size["fits"])
    return [
        f"For its Brier score and calibration it was turned into a probability of the label by a "
        f"logistic "
        f"regression on its logarithm, fitted {_fitted(facts, 'applied to')}.",
        *([f"In {left_out} of {left_out + fits} folds none could be fitted."] if left_out else []),
    ]


def _fitted(facts: MethodsFacts, then: str) -> str:
    """On which rows something was fitted, and what was done with it on which others."""
    if facts.validation:
        return f"on the part set aside for it and {then} the other patients"
    return f"on the inner part of each fold and {then} its held-out part"
