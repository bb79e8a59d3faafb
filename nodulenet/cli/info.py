"""``nodulenet info``: what is installed and what can be trained."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def info(
    models: Annotated[bool, typer.Option("--models", help="The models by name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Versions, backends, devices and models; nothing heavy is imported."""
    facts: dict[str, Any] = _models() if models else _system()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for title, rows in facts.items():
        typer.echo(title)
        width = max(map(len, rows), default=0)
        for name, text in rows.items():
            typer.echo(f"  {name:<{width}}  {text}")


def _system() -> dict[str, dict[str, str]]:
    import importlib.util
    import os
    import platform

    from nodulenet import __version__
    from nodulenet.config.load import shipped_configs
    from nodulenet.models.registry import list_models
    from nodulenet.versions import versions

    backends = {
        name: "installed" if importlib.util.find_spec(name) else "not installed"
        for name in ("tensorflow", "torch", "jax")
    }
    chosen = os.environ.get("KERAS_BACKEND", "tensorflow")
    if chosen in backends:
        backends[chosen] += ", used by Keras"
    return {
        "nodulenet": {"version": __version__, "use": "research only"},
        "versions": versions(),
        "backends": backends,
        "devices": {"cpu": f"{os.cpu_count()} cores, {platform.machine()}", "gpu": _gpu()},
        "models": {"names": ", ".join(list_models())},
        "configs": {"names": ", ".join(shipped_configs())},
    }


def _gpu() -> str:
    """GPUs by the driver's own word: asking a framework would take seconds."""
    import shutil
    import subprocess

    if not shutil.which("nvidia-smi"):
        return "none found (no nvidia-smi)"
    try:
        query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
        found = subprocess.run(query, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return "none found (nvidia-smi gives no answer)"
    return "; ".join(found.stdout.strip().splitlines()) or "none found"


def _models() -> dict[str, dict[str, str]]:
    from nodulenet.models.registry import get_model, list_models

    rows = {}
    for name in list_models():
        entry = get_model(name)
        rows[name] = (
            f"{entry.parameters:>9,} parameters, smallest input {entry.minimum_extent}, "
            f"{entry.description}"
        )
    return {"models": rows}
