"""``nodulenet demo``: the whole path on synthetic scans, wherever the package is installed."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nodulenet.cli.arguments import JsonOption

if TYPE_CHECKING:
    from nodulenet.config.schema import Config


def demo(
    quick: Annotated[
        bool, typer.Option("--quick", help="A smaller one: about a minute instead of four.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run and its scans; default runs/demo[_quick]."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Synthetic scans, patches, folds, two models, a report; and how to ask for an answer.

    The figures say that the path works on this machine, nothing about real lungs.
    """
    from nodulenet.cli.run import tell
    from nodulenet.cli.terminal import make_progress, say
    from nodulenet.config.load import load_config
    from nodulenet.workflow import run

    where = [] if out is None else [f"run={_yaml(out)}", f"source.root={_yaml(out / 'phantom')}"]
    config = load_config("demo_quick" if quick else "demo", where)
    result = run(config, progress=make_progress())
    tell(result, as_json=as_json)
    say(f"an answer on one of these scans:\n  {_question(config)}")


def _question(config: Config) -> str:
    """The command that asks the run for an answer, as the shell of this system takes it."""
    from nodulenet.phantom.for_config import phantom_nodule

    scan, point_lps_mm = phantom_nodule(config)
    point = ",".join(f"{value:.1f}" for value in point_lps_mm)
    words = ["nodulenet", "classify", str(scan), f"--point={point}", "--model", str(config.run)]
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def _yaml(path: Path) -> str:
    """A path as a value of an override: JSON's strings are YAML's, whatever the path holds."""
    return json.dumps(str(path))
