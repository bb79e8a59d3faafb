"""``nodulenet compare``: models of runs or CSV tables on the same findings, in pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from nodulenet.cli.arguments import JsonOption, LevelOption, SeedOption


def compare(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN_OR_CSV...",
            help="Run directories, or CSVs with finding_id, label and probability.",
        ),
    ],
    reference: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Compare the others with this model only."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=0.5,
            help="Non-inferiority margin of the AUC, stated beforehand, e.g. 0.05.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for comparison.json, comparison.csv and difference.svg, .png, .csv."
        ),
    ] = None,
    bootstraps: Annotated[
        int, typer.Option(min=100, max=100_000, help="Resamples of the patients.")
    ] = 2000,
    level: LevelOption = 0.95,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Differences between models on the findings that all of them have.

    AUCs by paired patient bootstrap and DeLong's test; sensitivity and specificity by paired
    patient bootstrap and McNemar's test; p values with Holm's correction.
    """
    from nodulenet.cli.terminal import say, warn
    from nodulenet.evaluation.comparison_tables import compare_sources

    result = compare_sources(
        sources,
        reference=reference,
        margin=margin,
        n_bootstrap=bootstraps,
        seed=seed,
        level=level,
    )
    if out is not None:
        _write(result, out)
    typer.echo(json.dumps(result, indent=2, allow_nan=False) if as_json else _tables(result))
    for model, facts in result["models"].items():
        if facts["rows_left_out"]:
            warn(f"{model}: {facts['rows_left_out']} rows left out, not all models have them")
    for text in result["notes"]:
        warn(text)
    if out is not None:
        say(f"results: {out}")


def _write(result: dict[str, Any], folder: Path) -> None:
    from nodulenet.atomic import write_json, write_text
    from nodulenet.evaluation.comparison_tables import flat_comparisons
    from nodulenet.plots.difference import difference_figure
    from nodulenet.plots.render import save_figure

    write_json(folder / "comparison.json", result)
    rows = result["comparisons"]
    table = flat_comparisons(rows)
    write_text(folder / "comparison.csv", table.to_csv(index=False, lineterminator="\n"))
    if any(row["available"] for row in rows):
        save_figure(difference_figure(rows), folder / "difference")


def _tables(result: dict[str, Any]) -> str:
    """One table of AUCs and one of calls."""
    import io

    from rich.console import Console

    lines = io.StringIO()
    # A fixed width: the same table on a terminal, in a log and in a test.
    console = Console(file=lines, width=128)
    console.print(_auc_table(result))
    called = _call_table(result)
    if called is not None:
        console.print(called)
    for row in result["comparisons"]:
        if not row["available"]:
            console.print(f"{_pair(row)}: not available; {row['why']}", highlight=False)
        elif "non_inferiority" in row:
            console.print(_non_inferiority(row), highlight=False)
    return "\n".join(line.rstrip() for line in lines.getvalue().splitlines())


def _auc_table(result: dict[str, Any]) -> Any:
    data = result["data"]
    table = _table(
        f"Pooled AUC on the same {data['findings']} findings ({data['positives']} positive) of "
        f"{data['patients']} patients, paired by {result['paired_by']}",
        ("first", "second", "difference", _level(result), "p", "p (Holm)", "DeLong p", "(Holm)"),
    )
    for row in result["comparisons"]:
        if not row["available"]:
            continue
        table.add_row(
            _pair(row),
            f"{row['first_auc']:.3f}",
            f"{row['second_auc']:.3f}",
            f"{row['difference']:+.3f}",
            _limits(row["patient_bootstrap"]),
            *(
                _p(row[name])
                for name in (
                    "bootstrap_p_value",
                    "bootstrap_p_holm",
                    "delong_p_value",
                    "delong_p_holm",
                )
            ),
        )
    table.caption = "intervals and p: paired patient bootstrap; Holm: over all pairs of the table"
    return table


def _call_table(result: dict[str, Any]) -> Any:
    rows = [row for row in result["comparisons"] if row.get("mcnemar", {}).get("available")]
    if not rows:
        return None
    point = result["operating_point"]
    table = _table(
        "Sensitivity and specificity at the "
        + ("threshold 0.5" if point == "0.5" else f"{point} threshold of each fold's inner rows"),
        ("first", "second", "difference", _level(result), "+/-", "McNemar p", "p (Holm)"),
    )
    for row in rows:
        for measure in ("sensitivity", "specificity"):
            test = row["mcnemar"][measure]
            if test["of"] == 0:
                continue
            table.add_row(
                f"{_pair(row)}, {measure}",
                f"{test['first']:.3f}",
                f"{test['second']:.3f}",
                f"{test['difference']:+.3f}",
                _limits(test["patient_bootstrap"]),
                f"{test['first_only']}/{test['second_only']}",
                _p(test["p_value"]),
                _p(test["p_holm"]),
            )
    table.caption = (
        "+/-: findings that only the first, only the second gets right; McNemar's test takes "
        "findings as independent"
    )
    return table


def _table(title: str, numbers: tuple[str, ...]) -> Any:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE, title_justify="left", caption_justify="left", pad_edge=False)
    table.title = title
    table.add_column("first - second", overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _non_inferiority(row: dict[str, Any]) -> str:
    found = row["non_inferiority"]
    if found["non_inferior"] is None:
        verdict = f"not known; {found['why']}"
    else:
        verdict = (
            f"{'shown' if found['non_inferior'] else 'not shown'}; lower limit "
            f"{found['lower_limit']:+.3f} against -{found['margin']:g} "
            f"(one-sided {100 * found['level_one_sided']:g}%)"
        )
    return f"non-inferiority of {row['first']} to {row['second']}: {verdict}"


def _pair(row: dict[str, Any]) -> str:
    return f"{row['first']} - {row['second']}"


def _level(result: dict[str, Any]) -> str:
    return f"{100 * result['settings']['level']:g}% interval"


def _limits(interval: dict[str, Any]) -> str:
    return "-" if interval["low"] is None else f"{interval['low']:+.3f} to {interval['high']:+.3f}"


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"
