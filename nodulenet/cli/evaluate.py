"""``nodulenet evaluate``: metrics and the report of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run directory that `train` wrote.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print metrics.json.")] = False,
) -> None:
    """Compute the metrics of the out-of-fold predictions; write metrics.json and report.html."""
    from nodulenet.cli.results import results_table
    from nodulenet.cli.terminal import say, warn
    from nodulenet.report.run import report_on_run
    from nodulenet.training.run import Run

    report = report_on_run(Run.open(run))
    typer.echo(json.dumps(report.metrics, indent=2) if as_json else results_table(report.metrics))
    for text in report.notes:
        warn(text)
    if report.failures:
        warn(f"{report.failures} failures of earlier stages are in manifest.json and the report")
    say(f"report: {report.path}")
