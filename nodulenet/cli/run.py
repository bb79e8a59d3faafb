"""``nodulenet run``: the whole way, from scans to the report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from nodulenet.cli.arguments import (
    ConfigArgument,
    FoldsOption,
    JsonOption,
    ModelsOption,
    OverridesArgument,
    SchedulerOption,
    whole_numbers,
    words,
)

if TYPE_CHECKING:
    from nodulenet.workflow import WorkflowResult


def run(
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    folds: FoldsOption = None,
    models: ModelsOption = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Processes; default one a CPU for scans, 1 for training."
        ),
    ] = None,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prepare, audit, train and evaluate, a synthetic data set first where configured.

    Stopped at any moment, the same command goes on; what is there is not done again.
    """
    from nodulenet.cli.terminal import make_progress
    from nodulenet.config.load import load_config
    from nodulenet.workflow import run as run_workflow

    settings = load_config(config, overrides or [])
    result = run_workflow(
        settings,
        folds=whole_numbers(folds, "--folds", "0,3"),
        models=words(models, "--models"),
        jobs=jobs,
        scheduler=scheduler,
        progress=make_progress(),
    )
    tell(result, as_json=as_json)


def tell(result: WorkflowResult, *, as_json: bool = False) -> None:
    """The end of a workflow: its table, where the report is, what failed; exit code 4 if so."""
    from nodulenet.cli.results import results_table
    from nodulenet.cli.terminal import end, say, warn

    metrics = result.report.metrics
    typer.echo(json.dumps(metrics, indent=2) if as_json else results_table(metrics))
    for text in result.report.notes:
        warn(text)
    say(f"report: {result.report.path}")
    end(result.failures, done=len(metrics["models"]), where="; the others were completed")
