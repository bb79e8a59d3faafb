"""What the recipes share: headings, and the end with its table, paths and exit code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from nodulenet.cli.results import results_table
from nodulenet.cli.terminal import list_failures, make_progress, run_app
from nodulenet.config.load import load_config
from nodulenet.config.schema import Config
from nodulenet.progress import Progress
from nodulenet.report.publish import Report

Recipe = Callable[[Config, Progress], tuple[Report, list[dict[str, str]]]]


def heading(number: int, of: int, text: str) -> None:
    """The line that opens a stage."""
    typer.echo(f"\n[{number}/{of}] {text}", err=True)


def run_recipe(recipe: Recipe, default_config: str) -> None:
    """Make a command of a recipe: ``--config CONFIG [KEY=VALUE]...``."""

    def command(
        config: Annotated[str, typer.Option(help="A YAML file or a shipped name.")] = (
            default_config
        ),
        overrides: Annotated[
            list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides.")
        ] = None,
    ) -> None:
        settings = load_config(config, overrides or [])
        report, failures = recipe(settings, make_progress())
        _finish(report, failures)

    command.__doc__ = recipe.__doc__
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    run_app(app)


def _finish(report: Report, failures: Sequence[dict[str, str]]) -> None:
    typer.echo(results_table(report.metrics))
    typer.echo(f"\nreport: {report.path}")
    if failures:
        list_failures(failures, where="; the others were completed")
        raise typer.Exit(4)
