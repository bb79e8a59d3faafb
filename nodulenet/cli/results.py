"""The table of results that ``evaluate`` and the pipelines end with."""

from __future__ import annotations

import io
from typing import Any


def results_table(metrics: dict[str, Any]) -> str:
    """Every model and the size-only row: AUC with interval, sensitivity, Brier score, CPM.

    Args:
        metrics: of :func:`nodulenet.evaluation.summary.summarize`.
    """
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    data = metrics["data"]
    has_froc = any((m["froc"] or {}).get("available") for m in metrics["models"].values())
    table = Table(box=SIMPLE, title_justify="left", caption_justify="left", pad_edge=False)
    folds = len(data["folds"])
    what = "Out-of-fold results" if folds > 1 else "Held-out results"
    if data["held_out"] == "assumed":
        what = "All rows, taken as held out"
    table.title = (
        f"{what}: {data['findings']} findings "
        f"({data['positives']} positive) of {data['patients']} patients"
        + (f", {folds} folds" if folds > 1 else "")
    )
    level = f"{100 * metrics['settings']['level']:g}% interval"
    at = f"sens. at {100 * metrics['settings']['specificity']:.10g}% spec."
    columns = ["model", "AUC", level, *(["folds: mean"] if folds > 1 else []), at, "Brier"]
    for name in columns:
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    if has_froc:
        table.add_column("CPM", justify="right")
    for name, model in metrics["models"].items():
        pooled = model["pooled"]
        cells = [name, *_auc_cells(pooled)]
        cells += [_spread(model["over_folds"])] if folds > 1 else []
        cells.append(_sensitivity(pooled))
        cells.append(_number(pooled["brier"]))
        if has_froc:
            cells.append(_number((model["froc"] or {}).get("cpm")))
        table.add_row(*cells)
    size = metrics["size_only"]
    if size["available"]:
        row = [f"{size['column']} alone", *_auc_cells(size)]
        row += [_spread(size["over_folds"])] if folds > 1 else []
        row += [_sensitivity(size), _number(size["calibration"].get("brier"))]
        table.add_row(*row, style="dim")
    else:
        table.caption = f"size alone: not available; {size['why']}"
    lines = io.StringIO()
    # A fixed width: the same table on a terminal, in a log and in a test.
    console = Console(file=lines, width=118)
    console.print(table)
    for row in metrics["comparisons"]:
        console.print(_comparison(row), highlight=False)
    for row in size.get("comparisons", []):
        console.print(_comparison(row), highlight=False)
    return "\n".join(line.rstrip() for line in lines.getvalue().splitlines())


def _auc_cells(row: dict[str, Any]) -> tuple[str, str]:
    auc = row["auc"]
    if auc is None:
        return "-", "-"
    return _number(auc["value"]), _interval(auc["patient_bootstrap"])


def _spread(folds: dict[str, Any]) -> str:
    if folds["auc_mean"] is None:
        return "-"
    spread = "" if folds["auc_sd"] is None else f" (sd {folds['auc_sd']:.3f})"
    if folds["folds_with_auc"] < folds["folds"]:
        spread += f", {folds['folds_with_auc']} of {folds['folds']} folds"
    return f"{folds['auc_mean']:.3f}{spread}"


def _sensitivity(row: dict[str, Any]) -> str:
    found = row["sensitivity_at_specificity"]
    return "-" if found is None else _number(found["sensitivity"]["value"])


def _comparison(row: dict[str, Any]) -> str:
    pair = f"{row['first']} - {row['second']}"
    if not row["available"]:
        return f"AUC difference {pair}: not available; {row['why']}"
    return (
        f"AUC difference {pair}: {row['difference']:+.3f} "
        f"({_interval(row['patient_bootstrap'])}, paired patient bootstrap)"
    )


def _interval(interval: dict[str, Any]) -> str:
    if interval.get("low") is None:
        return "-"
    return f"{interval['low']:.3f} to {interval['high']:.3f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
