"""``nodulenet store``: what a patch store holds, whether it is whole, how it looks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from nodulenet.errors import DataError, UsageError

_MONTAGE_ENDINGS = (".png", ".svg")


def store(
    folder: Annotated[
        Path, typer.Argument(metavar="STORE", help="A patch store, or a folder with one in it.")
    ],
    check: Annotated[
        bool, typer.Option("--check", help="Read and hash every patch; 3 if anything is wrong.")
    ] = False,
    montage: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Picture of a labelled sample: .png, .svg.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Summary of a patch store; --check verifies it, --montage draws a labelled sample."""
    if montage is not None and montage.suffix.lower() not in _MONTAGE_ENDINGS:
        raise UsageError(
            f"--montage {montage}: ends with {montage.suffix or 'nothing'}; expected "
            f"{' or '.join(_MONTAGE_ENDINGS)}"
        )
    from nodulenet.cli.terminal import make_progress
    from nodulenet.patches.store import find_store
    from nodulenet.patches.store_check import check_store, store_montage, summarize_store

    opened = find_store(folder)
    facts = summarize_store(opened)
    if check:
        facts["problems"] = check_store(opened, progress=make_progress())
    if montage is not None:
        _draw(store_montage(opened), montage)
        facts["montage"] = str(montage)
    typer.echo(json.dumps(facts, indent=2) if as_json else "\n".join(_lines(facts)))
    if check and facts["problems"]:
        raise typer.Exit(DataError.exit_code)


def _lines(facts: dict[str, Any]) -> list[str]:
    spec, source = facts["spec"], facts["source"]
    labels = ", ".join(f"{count} {name}" for name, count in facts["labels"].items()) or "none"
    size = " x ".join(map(str, spec["size"]))
    spacing = " x ".join(f"{s:g}" for s in spec["spacing_mm"])
    lines = [
        facts["path"],
        f"  patches   {facts['patches']} of {facts['scans']} scans, {facts['patients']} patients",
        f"  labels    {labels}",
        f"  patch     {spec['form']}, {size} voxels and {spec['margin_voxels']} margin on every "
        f"side, {spacing} mm, {spec['interpolation']}",
        f"  source    {source.get('kind')}, {source.get('findings')} findings",
        f"  on disk   {facts['bytes'] / 2**20:.1f} MB",
        f"  failures  {facts['failures']} listed in failures.json",
    ]
    if "montage" in facts:
        lines.append(f"  montage   {facts['montage']}")
    if "problems" in facts:
        found = facts["problems"]
        lines.append(f"  check     {f'{len(found)} problems' if found else 'whole'}")
        lines += [f"problem: {text}" for text in found]
    return lines


def _draw(figure: Any, path: Path) -> None:
    from nodulenet.atomic import write_text
    from nodulenet.plots.render import figure_svg, save_png

    if path.suffix.lower() == ".svg":
        write_text(path, figure_svg(figure))
    else:
        save_png(figure, path)
