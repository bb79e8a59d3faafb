"""The tables of results that ``evaluate`` and the pipelines end with."""

from __future__ import annotations

import io
from typing import Any

# A fixed width: the same tables on a terminal, in a log and in a test.
_WIDTH = 118
# More pairs than this stand in the report alone.
_MOST_PAIRS = 10


def results_table(metrics: dict[str, Any]) -> str:
    """Every model and the size-only row, what each has over the reference, and what it costs.

    Args:
        metrics: of :func:`nodulenet.evaluation.summary.summarize`.
    """
    from rich.console import Console

    lines = io.StringIO()
    # Names of models are no markup.
    console = Console(file=lines, width=_WIDTH, markup=False, highlight=False)
    for check in metrics["confounding"]:
        console.print(
            f"WARNING: labels are confounded with acquisition; {check['model']} alone: AUC "
            f"{check['auc']:.3f} ({_limits(check['low'], check['high'])})"
        )
    console.print(_main_table(metrics))
    console.print(_difference_table(metrics["overview"], metrics["settings"]))
    costs = _cost_table(metrics["overview"])
    if costs is not None:
        console.print(costs)
    for text in _lines(metrics):
        console.print(text)
    return "\n".join(line.rstrip() for line in lines.getvalue().splitlines())


def _main_table(metrics: dict[str, Any]) -> Any:
    data, models = metrics["data"], metrics["models"]
    has_froc = any((m["froc"] or {}).get("available") for m in models.values())
    has_kinds = any(m["kind"] for m in models.values())
    folds = len(data["folds"])
    what = "Out-of-fold results" if folds > 1 else "Held-out results"
    if data["held_out"] == "assumed":
        what = "All rows, taken as held out"
    title = (
        f"{what}: {data['findings']} findings "
        f"({data['positives']} positive) of {data['patients']} patients"
        + (f", {folds} folds" if folds > 1 else "")
    )
    at = f"sens. at {100 * metrics['settings']['specificity']:.10g}% spec."
    columns = ["AUC", _level(metrics["settings"]), *(["folds: mean"] if folds > 1 else [])]
    columns += [at, "Brier", *(["CPM"] if has_froc else [])]
    table = _table(title, ["kind"] if has_kinds else [], columns)
    for name, model in models.items():
        pooled = model["pooled"]
        cells = [name, *([_kind(model["kind"])] if has_kinds else []), *_auc_cells(pooled)]
        cells += [_spread(model["over_folds"])] if folds > 1 else []
        cells.append(_sensitivity(pooled))
        cells.append(_number(pooled["brier"]))
        if has_froc:
            cells.append(_number((model["froc"] or {}).get("cpm")))
        table.add_row(*cells)
    size = metrics["size_only"]
    if size["available"]:
        row = [f"{size['column']} alone", *(["size"] if has_kinds else []), *_auc_cells(size)]
        row += [_spread(size["over_folds"])] if folds > 1 else []
        row += [_sensitivity(size), _number(size["calibration"].get("brier"))]
        table.add_row(*row)
    else:
        table.caption = f"size alone: not available; {size['why']}"
    return table


def _difference_table(overview: dict[str, Any], settings: dict[str, Any]) -> Any:
    """Size-matched AUC, and what each has over the reference."""
    reference = overview["reference"]
    title = f"AUC minus that of {reference}, paired by patient" if reference else "AUC"
    level = _level(settings)
    table = _table(title, [], ["difference", level, "p", "p (Holm)", "size-matched AUC", level])
    for row in overview["rows"]:
        table.add_row(
            row["model"],
            _signed(row["difference"]),
            _limits(row["difference_low"], row["difference_high"], signed=True),
            _p(row["p_value"]),
            _p(row["p_holm"]),
            _number(row["size_matched_auc"]),
            _limits(row["size_matched_low"], row["size_matched_high"]),
        )
    table.caption = (
        f"size-matched: of pairs whose sizes differ by a factor of {settings['size_caliper']:g} at "
        "most; read it beside that of the size"
    )
    return table


def _cost_table(overview: dict[str, Any]) -> Any:
    """What models cost, where that is known."""
    rows = [row for row in overview["rows"] if row["parameters"] is not None]
    if not rows:
        return None
    columns = ["parameters", "multiply-accumulates", "patches/s", "minutes"]
    table = _table("Cost: of one patch, and of training", [], columns)
    for row in rows:
        speed, minutes = row["patches_per_s"], row["minutes"]
        table.add_row(
            row["model"],
            f"{row['parameters']:,}",
            _short(row["multiply_accumulates"]),
            "-" if speed is None else f"{speed:.0f}",
            "-" if minutes is None else f"{minutes:.1f}",
        )
    return table


def _lines(metrics: dict[str, Any]) -> list[str]:
    """What is missing, what a probability is of, and the pairs of models."""
    missing = metrics.get("not_available", [])
    lines = [f"{one['label']}: not available; {one['why']}" for one in missing]
    label = metrics.get("label")
    if label:
        lines.append(f"A probability here is the probability {label['probability_of']}.")
        if label["basis"]:
            counts = ", ".join(f"{basis} ({count})" for basis, count in label["basis"].items())
            lines.append(f"Labels rest on: {counts}.")
    pairs = metrics["comparisons"]
    if len(pairs) > _MOST_PAIRS:
        lines.append(f"{len(pairs)} pairs of models are compared in report.html and metrics.json")
        return lines
    return [*lines, *(_comparison(row) for row in pairs)]


def _table(title: str, texts: list[str], numbers: list[str]) -> Any:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE, title_justify="left", caption_justify="left", pad_edge=False)
    table.title = title
    table.add_column("model", overflow="fold")
    for name in texts:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _kind(kind: str | None) -> str:
    from nodulenet.evaluation.kinds import WORDS

    return WORDS.get(kind or "", "-")


def _level(settings: dict[str, Any]) -> str:
    return f"{100 * settings['level']:g}% interval"


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
    return _limits(interval.get("low"), interval.get("high"))


def _limits(low: float | None, high: float | None, *, signed: bool = False) -> str:
    if low is None or high is None:
        return "-"
    return f"{low:+.3f} to {high:+.3f}" if signed else f"{low:.3f} to {high:.3f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _short(value: int | None) -> str:
    if value is None:
        return "-"
    for unit, size in ((" G", 1e9), (" M", 1e6), (" k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return str(value)
