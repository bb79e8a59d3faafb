"""Reading a configuration: YAML, ``${ENV}`` in paths, ``key=value`` overrides, clear errors."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from nodulenet.atomic import write_text
from nodulenet.config.schema import Config
from nodulenet.config.sources import source_kinds
from nodulenet.errors import ConfigError

_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")

_S = TypeVar("_S", bound=BaseModel)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The validated configuration of a YAML file, or of a shipped one by its name.

    Args:
        path: a file, or a name that :func:`shipped_configs` lists (``"demo"``).
        overrides: ``key=value`` with dotted keys, e.g. ``train.epochs=3`` or ``models.0.name=x``;
            the value is read as YAML.

    Raises:
        ConfigError: the file is absent or no YAML, a variable is not set, or a field is unknown
            or wrong; the message names the file and the field's path.
    """
    file = find_config(path)
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as text ({error})") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: is not valid YAML: {_one_line(error)}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{file}: expected a mapping of fields, found {type(tree).__name__}")
    for override in overrides:
        _apply_override(tree, override)
    tree = _expand(tree, file, where="")
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{file}: {_explain(error)}") from None


def validated(section: type[_S], fields: dict[str, Any]) -> _S:
    """A section of a configuration from values that did not come from a file.

    Raises:
        ConfigError: a field is unknown, missing or wrong.
    """
    try:
        return section.model_validate(fields)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def overridden(section: _S, name: str, overrides: Sequence[str]) -> _S:
    """One section of a configuration that is there already, changed by overrides of its fields.

    Args:
        section: as it is.
        name: its name, with which every override has to begin, e.g. ``"evaluate"``.
        overrides: ``evaluate.level=0.9`` and the like; the value is read as YAML.

    Raises:
        ConfigError: an override is of another section, or its field is unknown or wrong.
    """
    tree = {name: section.model_dump(mode="json")}
    for override in overrides:
        if not override.partition("=")[0].strip().startswith(f"{name}."):
            raise ConfigError(
                f"override {override!r}: only {name}.FIELD=VALUE can be changed here, e.g. "
                f"{name}.{next(iter(type(section).model_fields))}=..."
            )
        _apply_override(tree, override)
    try:
        return type(section).model_validate(tree[name])
    except ValidationError as error:
        problems = _problems(error, type(section))
        raise ConfigError("; ".join(f"{name}.{text}" for text in problems)) from None


def find_config(path: str | Path) -> Path:
    """The file itself, or the shipped configuration of that name."""
    file = Path(path)
    if file.is_file():
        return file
    shipped = shipped_configs()
    name = str(path).removesuffix(".yaml")
    if name in shipped:
        return shipped[name]
    raise ConfigError(
        f"{file}: there is no such configuration file, and no shipped one of that name "
        f"(shipped: {', '.join(shipped)})"
    )


def shipped_configs() -> dict[str, Path]:
    """The configurations that come with the package, by name."""
    package = Path(__file__).resolve().parents[1]
    # In a wheel they lie inside the package, in a checkout beside it.
    for folder in (package / "configs", package.parent / "configs"):
        if folder.is_dir():
            return {file.stem: file for file in sorted(folder.glob("*.yaml"))}
    return {}


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML, every default written out."""
    tree = config.model_dump(mode="json")
    # Unbroken lines: a path that is broken at a space is found by nobody.
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=10**6)


def save_config(config: Config, path: str | Path) -> None:
    """Write the resolved configuration, so that it can be loaded again as it is."""
    write_text(path, dump_config(config))


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"override {override!r}: expected key=value, e.g. train.epochs=3")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: {_one_line(error)}") from error
    node: Any = tree
    steps = key.strip().split(".")
    for depth, step in enumerate(steps[:-1]):
        if isinstance(node, list):
            node = node[_list_index(node, step, override)]
        else:
            node = node.setdefault(step, {})
        if not isinstance(node, dict | list):
            raise ConfigError(
                f"override {override!r}: {'.'.join(steps[: depth + 1])} is {node!r} and has no "
                f"fields; write it out as a mapping first"
            )
    if isinstance(node, list):
        node[_list_index(node, steps[-1], override)] = value
    else:
        node[steps[-1]] = value


def _list_index(node: list[Any], step: str, override: str) -> int:
    if not step.isdigit() or int(step) >= len(node):
        raise ConfigError(
            f"override {override!r}: {step!r} is not an index of a list of {len(node)} items"
        )
    return int(step)


def _expand(value: Any, file: Path, where: str) -> Any:
    if isinstance(value, dict):
        return {k: _expand(v, file, f"{where}.{k}".lstrip(".")) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand(v, file, f"{where}.{i}") for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        found = os.environ.get(match["name"], match["default"])
        if found is None:
            raise ConfigError(
                f"{file}: {where}: the environment variable {match['name']} is not set; set it "
                f"(export {match['name']}=/path/to/data) or give {where}=PATH on the command line"
            )
        return found

    return _VARIABLE.sub(variable, value)


def _explain(error: ValidationError) -> str:
    """All problems in one line, each with its field path and, for a typo, the nearest field."""
    return "; ".join(_problems(error))


def _problems(error: ValidationError, model: type[BaseModel] = Config) -> Iterator[str]:
    kinds = source_kinds()
    for problem in error.errors():
        # pydantic puts the tag of a union into the path; a reader knows it as source.kind.
        steps = [
            str(s)
            for i, s in enumerate(problem["loc"])
            if not (i == 1 and problem["loc"][0] == "source" and s in kinds)
        ]
        where = ".".join(steps) or "config"
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(steps[-1], sorted(_all_fields(model)), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            yield f"{where}: unknown field{hint}"
        elif problem["type"] == "missing":
            yield f"{where}: is needed and missing"
        else:
            found = problem["input"]
            # A whole section as the "input" says nothing to a reader; a value does.
            shown = "" if isinstance(found, dict | list | BaseModel) else f", got {found!r}"
            yield f"{where}: {problem['msg'].removeprefix('Value error, ')}{shown}"


def _all_fields(model: type[BaseModel]) -> set[str]:
    names: set[str] = set()
    pending: list[Any] = [model]
    seen: set[Any] = set()
    while pending:
        item = pending.pop()
        if isinstance(item, type) and issubclass(item, BaseModel) and item not in seen:
            seen.add(item)
            for name, field in item.model_fields.items():
                names.add(name)
                pending.append(field.annotation)
        else:
            pending.extend(getattr(item, "__args__", ()))
    return names


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
