"""The report of an external validation: the same figures as of a run, on data it never saw."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nodulenet import __version__
from nodulenet.atomic import atomic_path, write_json
from nodulenet.config.load import dump_config, save_config
from nodulenet.evaluation.froc_tables import FrocReference
from nodulenet.evaluation.summary import summarize
from nodulenet.evaluation.table import join_findings, read_predictions
from nodulenet.inference.validated import Validated
from nodulenet.report.content import ReportContent
from nodulenet.report.methods import MethodsFacts, write_methods
from nodulenet.report.publish import Report, publish
from nodulenet.report.run_gallery import run_gallery
from nodulenet.seeds import child_seed
from nodulenet.versions import command_line, file_hash, versions

FILE = "validation.json"
SCHEMA = "nodulenet.validation/1"


def report_on_validation(validated: Validated, folder: Path | None = None) -> Report:
    """Write everything that a validation leaves behind.

    ``predictions.csv``, ``findings.csv``, ``config.yaml``, ``validation.json`` (what answered,
    counts, hashes, versions, command), ``metrics.json``, ``figures/``, ``report.html`` and
    ``methods.md``, each whole or not at all.

    Args:
        validated: Of :func:`nodulenet.inference.validate.validate`.
        folder: Where the results go. Defaults to ``run`` of its configuration.

    Raises:
        PredictionsError: the predictions have no outer rows.
    """
    config, facts, store = validated.config, validated.facts, validated.store
    target = folder or config.run
    target.mkdir(parents=True, exist_ok=True)
    for name, table in (("predictions", validated.predictions), ("findings", validated.findings)):
        with atomic_path(target / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
    save_config(config, target / "config.yaml")
    predictions = join_findings(
        read_predictions(validated.predictions, source_name="predictions.csv"), validated.findings
    )
    metrics = summarize(
        predictions,
        config.evaluate,
        froc=_froc(validated.reference),
        seed=child_seed(config.seed, "bootstrap"),
    )
    checks = [facts["patients"], facts["images"]]
    manifest = {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "nodulenet": __version__,
        "command": command_line(),
        "versions": versions(),
        "system": platform.platform(),
        "seed": config.seed,
        **facts,
        "store": str(store.path),
        "notes": list(validated.notes),
        "warnings": list(validated.warnings),
        "failures": list(validated.failures),
    }
    write_json(target / FILE, manifest)
    report = publish(
        target,
        ReportContent(
            title=f"{config.name}: validation of {facts['bundle']['name']}",
            label_meaning=config.label_meaning,
            metrics=metrics,
            predictions=predictions,
            audit=_audit(checks),
            config_yaml=dump_config(config),
            versions=manifest["versions"],
            hashes={
                f"the bundle {facts['bundle']['name']}": facts["bundle"]["hash"],
                "predictions.csv": file_hash(target / "predictions.csv"),
            },
            command=manifest["command"],
            seed=config.seed,
            data_facts=_data_facts(validated),
            failures=validated.failures,
            warnings=[*validated.notes, *validated.warnings],
            gallery=run_gallery(target, next(iter(metrics["models"])), predictions, store)
            if store.values.kind == "hu"
            else [],
            limitations=_limitations(facts),
            created=manifest["created"],
        ),
    )
    write_methods(
        target / "methods.md",
        MethodsFacts(
            config=config,
            metrics=report.metrics,
            manifest=manifest,
            audit=[c for c in checks if c is facts["patients"] or c["ok"] is not None],
            validation=facts,
        ),
    )
    return report


def _froc(tables: Mapping[str, Path]) -> FrocReference | None:
    if not tables:
        return None
    return FrocReference.read(
        tables["annotations"], tables.get("annotations_excluded"), tables["seriesuids"]
    )


def _audit(checks: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The checks as the report's audit, without what nobody knows, which the notes say."""
    known = [c for c in checks if c["ok"] is not None]
    if not known:
        return None
    return {
        "ok": all(c["ok"] for c in known),
        "lines": [c["found"] for c in known],
        "wrong": [c["found"] for c in known if not c["ok"]],
        "heading": "Some of these data may have been in the training.",
        "advice": "That was allowed beforehand (folds.allow_shared_patients). Where they were, the "
        "figures below are too good: leave these patients out.",
    }


def _data_facts(validated: Validated) -> dict[str, Any]:
    facts, spec = validated.facts, validated.config.patch
    bundle = facts["bundle"]
    lines: dict[str, Any] = {
        "source": validated.config.source.kind,
        "bundle": f"{bundle['name']} ({bundle['hash']})",
        "models": ", ".join(
            f"{key} (mean of {m['fold_models']} fold models)" for key, m in bundle["models"].items()
        ),
        "positives in the training": f"{bundle['training_prevalence']:.1%}",
        "patch": f"{spec.form}, {' x '.join(map(str, spec.size))} voxels at "
        f"{' x '.join(f'{s:g}' for s in spec.spacing_mm)} mm",
        "windows": ", ".join(map(str, spec.windows)),
    }
    if facts.get("jitter"):
        model = facts["jitter"]["model"]
        lines |= {f"{model}, {name}": text for name, text in facts["jitter"]["lines"].items()}
    part = facts["recalibration"]
    if part:
        lines["for recalibration"] = (
            f"{part['inner']['findings']} findings of {part['inner']['patients']} patients "
            f"({part['share']:.0%}), not evaluated"
        )
    return lines


def _limitations(facts: Mapping[str, Any]) -> list[str]:
    lines = [
        "Whether these data differ from those of the training in centre, scanner, protocol and "
        "choice of patients is not known to the software.",
        "Answers are the mean of the fold models, calibrated on their out-of-fold predictions; "
        "training tested the fold models, not their mean.",
    ]
    if facts["recalibration"]:
        lines.append(
            "Operating points and recalibrations come from other patients of the same data, so "
            "they say how the bundle does after an adjustment to these data."
        )
    return lines
