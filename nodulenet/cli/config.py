"""``nodulenet config``: the shipped configurations and the schema."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def config(
    names: Annotated[bool, typer.Option("--list", help="Names of the shipped ones.")] = False,
    show: Annotated[str | None, typer.Option(metavar="NAME", help="Print one.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema.")] = False,
    fields: Annotated[bool, typer.Option("--fields", help="Print every field, Markdown.")] = False,
) -> None:
    """List or print shipped configurations, or the schema that editors complete by."""
    from nodulenet.config.describe import fields_table
    from nodulenet.config.load import find_config, shipped_configs
    from nodulenet.config.schema import Config
    from nodulenet.errors import UsageError

    if names + schema + fields + (show is not None) != 1:
        raise UsageError("config: give one of --list, --show NAME, --schema, --fields")
    if names:
        typer.echo("\n".join(shipped_configs()))
    elif schema:
        typer.echo(json.dumps(Config.model_json_schema(), indent=2))
    elif fields:
        typer.echo(fields_table(), nl=False)
    elif show is not None:
        typer.echo(find_config(show).read_text(encoding="utf-8"), nl=False)
