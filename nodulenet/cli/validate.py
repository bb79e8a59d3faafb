"""``nodulenet validate``: a bundle on labelled data that its training never saw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nodulenet.cli.arguments import OverridesArgument, decimals


def validate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Run or bundle directory.")],
    overrides: OverridesArgument = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="CONFIG",
            help="YAML with source, label_rule, label_meaning of the data; needed.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the results. Default: its `run`.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="KEY|all", help="Which of the bundle's models; default its first."),
    ] = None,
    recalibrate: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Share of the patients, e.g. 0.3, for recalibration and thresholds; the others "
            "are evaluated.",
        ),
    ] = None,
    jitter_mm: Annotated[
        str | None,
        typer.Option(
            "--jitter-mm",
            metavar="0,1,2,4",
            help="Move the centres by so many mm: what becomes of AUC and probabilities.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print metrics.json.")] = False,
) -> None:
    """External validation: predictions, metrics, report.html and methods.md on other data.

    Refused where patients were in the bundle's training.
    """
    from nodulenet.cli.results import results_table
    from nodulenet.cli.terminal import end, make_progress, say, warn
    from nodulenet.errors import UsageError

    if data is None:
        raise UsageError(
            "validate: --data CONFIG is missing; give a YAML file with the source and the labels "
            "of the data"
        )
    from nodulenet.inference.bundle import Bundle
    from nodulenet.inference.validate import validate as validate_bundle
    from nodulenet.inference.validate import validation_config
    from nodulenet.report.validation import report_on_validation

    radii = decimals(jitter_mm, "--jitter-mm", "0,1,2,4")
    opened = Bundle(bundle)
    config, notes = validation_config(opened, data, overrides or [])
    if out is not None:
        config = config.model_copy(update={"run": out})
    progress = make_progress()
    validated = validate_bundle(
        opened,
        config,
        model=model,
        recalibrate=recalibrate,
        jitter_mm=radii,
        notes=notes,
        progress=progress,
    )
    report = report_on_validation(validated)
    typer.echo(json.dumps(report.metrics, indent=2) if as_json else results_table(report.metrics))
    for name, line in ((validated.facts["jitter"] or {}).get("lines") or {}).items():
        say(f"{name}: {line}")
    for text in (*validated.notes, *validated.warnings):
        warn(text)
    say(f"report: {report.path}")
    end(list(validated.failures), done=len(validated.predictions))
