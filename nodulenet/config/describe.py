"""Every field of a configuration as Markdown: what ``docs/configuration.md`` holds."""

from __future__ import annotations

import typing
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from nodulenet.config.schema import Config


def fields_table() -> str:
    """One table a section, the top first: field, type, default, meaning."""
    lines: list[str] = []
    pending: list[type[BaseModel]] = [Config]
    seen: set[type[BaseModel]] = set()
    while pending:
        model = pending.pop(0)
        if model in seen:
            continue
        seen.add(model)
        lines += ["", f"## {model.__name__}", "", (model.__doc__ or "").strip(), ""]
        lines += ["| field | type | default | meaning |", "|---|---|---|---|"]
        for name, field in model.model_fields.items():
            kind = " ".join([_type(field.annotation), *_limits(field)])
            cells = (f"`{name}`", kind, _default(field), field.description or "")
            lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
            pending += _models(field.annotation)
    return "\n".join(lines).strip() + "\n"


def _limits(field: FieldInfo) -> list[str]:
    """Bounds as people write them: > 0, <= 100."""
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    return [
        f"{sign} {getattr(bound, name):g}"
        for bound in field.metadata
        for name, sign in signs.items()
        if getattr(bound, name, None) is not None
    ]


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "defaults" if field.default_factory is not None else "needed"
    value = field.default
    if value is None:
        return "null"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(annotation: Any) -> str:
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin is typing.Literal:
        return ", ".join(f"`{a}`" for a in arguments)
    if origin in (list, tuple):
        return f"list of {_type(arguments[0])}"
    if arguments:
        return " or ".join(_type(a) for a in arguments)
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, name.lower())


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [m for a in typing.get_args(annotation) for m in _models(a)]
