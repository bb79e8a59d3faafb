"""What the recipes share: the command line, and the end with its table, paths and exit code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from nodulenet.cli.run import tell
from nodulenet.cli.terminal import make_progress, run_app
from nodulenet.config.load import load_config
from nodulenet.config.schema import Config
from nodulenet.progress import Progress
from nodulenet.workflow import WorkflowResult

Recipe = Callable[[Config, Progress], WorkflowResult]


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
        tell(recipe(load_config(config, overrides or []), make_progress()))

    command.__doc__ = recipe.__doc__
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    run_app(app)
