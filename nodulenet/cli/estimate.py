"""How estimates are printed: what they are of, and how much, one line each, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import typer


def show_estimate(
    lines: Sequence[tuple[str, str]], facts: dict[str, Any], *, as_json: bool
) -> None:
    """Print an estimate on stdout: its lines for people, or its facts for programs."""
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    width = max(len(name) for name, _ in lines)
    for name, amount in lines:
        typer.echo(f"{name:<{width}}  {amount}")
