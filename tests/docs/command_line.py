"""A ``nodulenet`` command line read by the real application, without running anything."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import typer

from nodulenet.cli.main import app

# Typer brings its own Click; what an unknown option raises is the parent of the public class.
USAGE_ERRORS: tuple[type[Exception], ...] = (typer.BadParameter.__mro__[1],)  # type: ignore[assignment]
_PLACEHOLDER = re.compile(r"[A-Z][A-Z0-9_,=.]*|.*(\.\.\.|…).*")


def complaint(words: Sequence[str], *, whole: bool) -> str | None:
    """What is wrong with the words after ``nodulenet``, or None.

    Verbs, options and their values are looked at, files are not. ``whole``: the line is complete,
    so that what a verb needs must be there; a mention in a sentence may leave it out and may have
    placeholders such as ``N`` for values.
    """
    command: Any = _application()
    context = command.context_class(command, info_name="nodulenet")
    rest = list(words)
    try:
        while hasattr(command, "commands"):
            _, rest, _ = command.make_parser(context).parse_args(rest)
            if not rest:
                return None
            name = rest.pop(0)
            if name == "..." and not whole:
                return None
            if name not in command.commands:
                return f"no verb {name!r}"
            command = command.commands[name]
            context = command.context_class(command, info_name=name, parent=context)
        values, unused, _ = command.make_parser(context).parse_args(rest)
    except USAGE_ERRORS as error:
        return str(error)
    if unused:
        return f"too many words: {unused}"
    if any(values.get(name) for name in ("help", "version")):
        return None
    for parameter in command.params:
        value = values.get(parameter.name)
        if value is None:
            if whole and parameter.required:
                return f"{parameter.name} is missing"
            continue
        if not whole and any(_PLACEHOLDER.fullmatch(str(one)) for one in _listed(value)):
            continue
        if parameter.callback is not None:
            continue
        try:
            parameter.process_value(context, value)
        except USAGE_ERRORS as error:
            return f"{parameter.opts[0]} {value}: {error}"
    return None


@cache
def _application() -> Any:
    return typer.main.get_command(app)  # two tenths of a second


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
