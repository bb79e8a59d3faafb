"""``nodulenet export``: a bundle's models for ONNX Runtime or OpenVINO, with the proof."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nodulenet.errors import UsageError

if TYPE_CHECKING:
    from nodulenet.inference.export.parity import ParityReport


def export(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Run or bundle directory.")],
    format_: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="onnx|openvino", help="May be given twice; needed."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the files. Default: BUNDLE/engines, where classify looks.",
        ),
    ] = None,
    use: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which of the models; default all.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Run whose held-out patches parity is checked on; default BUNDLE."
        ),
    ] = None,
    patches: Annotated[
        int, typer.Option("--patches", min=1, help="Patches of the parity check at most.")
    ] = 1000,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of the engines; default all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the parity reports.")] = False,
) -> None:
    """Write a bundle's models as ONNX or OpenVINO files and compare their answers with Keras's.

    Exit code 4 when a format did not pass in float32: it is kept, and never taken by default.
    """
    if not format_:
        raise UsageError("export: --format is missing; give onnx, openvino or both")
    from nodulenet.cli.terminal import end, make_progress, say
    from nodulenet.inference.bundle import Bundle
    from nodulenet.inference.engines import installed_engines
    from nodulenet.inference.export.bundle import export_bundle
    from nodulenet.inference.export.listing import FOLDER
    from nodulenet.inference.export.parity import choose_engine

    exported = export_bundle(
        Bundle(bundle),
        format_,
        out=out,
        model=use,
        run=run,
        most_patches=patches,
        threads=threads,
        progress=make_progress(),
    )
    reports = {key: model.parity for key, model in exported.items()}
    if as_json:
        typer.echo(json.dumps({key: r.to_dict() for key, r in reports.items()}, indent=2))
    else:
        for key, report in reports.items():
            typer.echo(_text(key, report))
    for key, model in exported.items():
        available = [n for n in installed_engines() if n == "keras" or n in model.files]
        say(f"{key}: classify takes {choose_engine(available, model.parity)} unless told otherwise")
    say(f"files: {out or bundle / FOLDER}")
    failures = [
        {"what": f"{key} {row.engine}", "error": f"differs from keras, see its row of {key}"}
        for key, report in reports.items()
        for row in report.rows
        if row.precision == "f32" and not row.passed
    ]
    end(failures, done=len(reports))


def _text(key: str, report: ParityReport) -> str:
    """A report as a table in plain text."""
    header = ["engine", "precision", "largest difference", "logits", "AUC", "patches/s", "parity"]
    lines = [header, *[_cells(row) for row in report.rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    title = f"{key}: {report.patches}; {report.machine}"
    table = ("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines)
    return "\n".join([title, *(line.rstrip() for line in table)])


def _cells(row: Any) -> list[str]:
    auc = "" if row.auc_after is None else f"{row.auc_before:.4f} -> {row.auc_after:.4f}"
    return [
        row.engine,
        row.precision,
        "no numbers" if row.largest_difference is None else f"{row.largest_difference:.1e}",
        "" if row.largest_logit_difference is None else f"{row.largest_logit_difference:.1e}",
        auc,
        "" if row.patches_per_s is None else f"{row.patches_per_s:.0f}",
        f"{'passed' if row.passed else 'FAILED'} at {row.tolerance:g}",
    ]
