"""``nodulenet info``: what a scan is, what is installed, what can be trained."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from nodulenet.cli.arguments import IrregularOption, SeriesOption
from nodulenet.errors import UsageError


def info(
    scan: Annotated[
        Path | None,
        typer.Argument(help="A scan to describe; without it, what is installed."),
    ] = None,
    series: SeriesOption = None,
    irregular: IrregularOption = "refuse",
    models: Annotated[bool, typer.Option("--models", help="The models by name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """A scan's geometry, orientation, HU range, series and warnings; or what is installed."""
    if scan is not None and models:
        raise UsageError("info: give either SCAN or --models")
    if scan is None and (series or irregular != "refuse"):
        raise UsageError("info: --series and --irregular belong to SCAN")
    facts: dict[str, Any]
    if scan is not None:
        from nodulenet.ct.describe import describe_scan

        facts = describe_scan(scan, series_uid=series, irregular=irregular)
        shown = _scan_text(facts)
    else:
        facts = shown = _models() if models else _system()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for title, rows in shown.items():
        typer.echo(title)
        width = max(map(len, rows), default=0)
        for name, text in rows.items():
            typer.echo(f"  {name:<{width}}  {text}")


def _scan_text(facts: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The facts of a scan as titles and rows."""
    shown: dict[str, dict[str, str]] = {}
    volume = facts.get("volume")
    if volume is not None:
        low, high = volume["extent_lps_mm"]
        tilt = volume["oblique_degrees"]
        straight = f", oblique by up to {tilt:g} degrees" if tilt else ""
        shown[facts["scan"]] = {
            "series": volume["series_uid"],
            "format": volume["format"],
            "voxels": f"{_by(reversed(volume['shape_zyx']))} (x, y, z)",
            "spacing": f"{_by(volume['spacing_xyz_mm'])} mm (x, y, z)",
            "extent": ", ".join(
                f"{axis} {a:.1f} to {b:.1f}" for axis, a, b in zip("xyz", low, high, strict=True)
            )
            + " mm (LPS)",
            "orientation": f"{volume['orientation']}{straight}",
            "HU": f"{volume['hu_range'][0]} to {volume['hu_range'][1]}",
            "warnings": "none",
        }
        if volume["warnings"]:
            del shown[facts["scan"]]["warnings"]
            shown["warnings"] = {str(i): text for i, text in enumerate(volume["warnings"], 1)}
    series = facts.get("series", [])
    if volume is None:
        title = f"{facts['scan']}: {len(series)} CT series; choose one with --series UID"
    else:
        title = "CT series here"
    if series:
        shown[title] = {
            s[
                "series_uid"
            ]: f"{s['slices']} slices, {_by(s['spacing_mm'])} mm, {s['description']!r}"
            for s in series
        }
    return shown


def _by(values: Iterable[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)


def _system() -> dict[str, dict[str, str]]:
    import importlib.util
    import os
    import platform

    from nodulenet import __version__
    from nodulenet.config.load import shipped_configs
    from nodulenet.models.registry import list_models
    from nodulenet.privacy import key_file
    from nodulenet.versions import versions

    key = key_file()

    backends = {
        name: "installed" if importlib.util.find_spec(name) else "not installed"
        for name in ("tensorflow", "torch", "jax")
    }
    chosen = os.environ.get("KERAS_BACKEND", "tensorflow")
    if chosen in backends:
        backends[chosen] += ", used by Keras"
    return {
        "nodulenet": {
            "version": __version__,
            "use": "research only",
            "key of pseudonyms": _without_home(key) + ("" if key.is_file() else " (not made yet)"),
        },
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
    from nodulenet.models.registry import describe_models

    return {"models": describe_models()}


def _without_home(path: Path) -> str:
    """With the home folder, which names the user, as ``~``: what is printed here gets pasted."""
    return str(path).replace(str(Path.home()), "~", 1)
