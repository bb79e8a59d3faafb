"""``nodulenet evaluate``: metrics and the report of a run or of any table of predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer


def evaluate(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_OR_CSV", help="Run directory, or a CSV with label and probability."
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[evaluate.KEY=VALUE]...",
            help="What to report, e.g. evaluate.level=0.9, evaluate.prevalences=[0.01,0.05], "
            "evaluate.subgroups=[texture].",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the results. Default: the run, or NAME_report for NAME.csv."),
    ] = None,
    label_meaning: Annotated[
        Literal["candidate", "reader_rating", "outcome"] | None,
        typer.Option(help="CSV: what label 1 is; the report says so beside every probability."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OURS=THEIRS", help="CSV: names of its columns, e.g. probability=score."
        ),
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="CSV: nodules in LUNA16's columns, for a FROC.")
    ] = None,
    excluded: Annotated[
        Path | None, typer.Option(help="CSV: findings to be ignored in the FROC.")
    ] = None,
    series: Annotated[
        Path | None, typer.Option(help="CSV: the scans that count in the FROC, one UID a line.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="CSV: seed of the bootstraps. Default: 0.")
    ] = None,
    share: Annotated[
        bool,
        typer.Option(
            "--share",
            help="Replace ids, UIDs and paths by pseudonyms: a report to pass on; with --out.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print metrics.json.")] = False,
) -> None:
    """Metrics of out-of-fold predictions: metrics.json, figures and report.html.

    Only outer rows are evaluated. Thresholds and recalibration come from inner rows.
    """
    from nodulenet.cli.arguments import pairs
    from nodulenet.cli.results import results_table
    from nodulenet.cli.terminal import alarm, say, warn
    from nodulenet.errors import UsageError

    tables = {"--annotations": annotations, "--excluded": excluded, "--series": series}
    for_tables = {"--label-meaning": label_meaning, "--column": column, "--seed": seed, **tables}
    if source.is_dir() or (source.suffix.lower() != ".csv" and not source.exists()):
        given = [name for name, value in for_tables.items() if value is not None]
        if given:
            raise UsageError(
                f"{given[0]}: is for CSV tables; {source} is a run, which knows that itself"
            )
        from nodulenet.report.run import report_on_run
        from nodulenet.training.run import Run

        report = report_on_run(Run.open(source), overrides or [], folder=out, share=share)
    else:
        from nodulenet.config.load import overridden
        from nodulenet.config.schema import EvaluateConfig
        from nodulenet.evaluation.froc_tables import FrocReference
        from nodulenet.report.table import report_on_table

        if (annotations is None) != (series is None) or (excluded and not annotations):
            raise UsageError("a FROC needs both --annotations and --series; give both or none")
        report = report_on_table(
            source,
            out or Path(f"{source.stem}_report"),
            overridden(EvaluateConfig(), "evaluate", overrides or []),
            label_meaning=label_meaning or "unstated",
            columns=pairs(column or [], "--column", "probability=score"),
            froc=FrocReference.read(annotations, excluded, series)
            if annotations and series
            else None,
            seed=seed or 0,
            share=share,
        )
    typer.echo(json.dumps(report.metrics, indent=2) if as_json else results_table(report.metrics))
    grave = {check["found"] for check in report.metrics["confounding"]}
    for text in report.notes:
        (alarm if text in grave else warn)(text)
    if report.failures:
        warn(f"{report.failures} failures of earlier stages are in manifest.json and the report")
    say(f"report: {report.path}")
