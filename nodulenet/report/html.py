"""Writes ``report.html``: one file that needs no network, no server and no scripts."""

from __future__ import annotations

import base64
import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nodulenet import __version__
from nodulenet.atomic import write_text
from nodulenet.evaluation.kinds import WORDS, is_baseline
from nodulenet.evaluation.sides import crossing_patients
from nodulenet.evaluation.table import outer_rows
from nodulenet.plots.page import PAGE_COLOURS, PAPER_COLOURS
from nodulenet.report import format as formats
from nodulenet.report.content import ReportContent
from nodulenet.report.figures import FigureBook

_ALWAYS = (
    "Research use only: not a medical device, not for decisions about patients.",
    "Detection is out of scope: the positions were given, so nodules that nobody marked are in "
    "no number here.",
    "Wilson and DeLong intervals take findings as independent; the patient bootstrap does not and "
    "is the one to trust where patients have several findings.",
)

_LEAK = "These results leak: training and test data are not separate."
_CONFOUNDED = "Labels are confounded with how scans were made."
_CONFOUNDED_ADVICE = (
    "What looks like knowledge of nodules below may be knowledge of scanners. Hold out a scanner "
    "maker or a site (folds.kind=column), and look at the AUC in groups by acquisition."
)
_ADVICE = "Every figure below is too good. Make the folds by patient and train again."


def write_report(path: str | os.PathLike[str], content: ReportContent) -> Path:
    """Writes the report, and its figures into ``figures/`` beside it (.svg and .png).

    Every file is written under a temporary name and renamed, the page last.

    Args:
        path: Of the HTML file; its folder is made when needed.
        content: What to show.

    Returns:
        The path of the report.

    Raises:
        PredictionsError: the predictions have no outer rows.
    """
    target = Path(path)
    book = FigureBook(content, target.parent / "figures")
    audit = _audit(content)
    page = {
        "headline": book.headline(),
        "learning": book.learning(),
        "roc": book.roc(),
        "precision_recall": book.precision_recall(),
        "calibration": book.calibration(),
        "recalibration": book.recalibration(),
        "distributions": book.distributions(),
        "froc": book.froc(),
        "differences": book.differences(),
        "forests": book.forests(),
        "gallery": book.pictures(),
    }
    text = (
        _environment()
        .get_template("report.html.j2")
        .render(
            content=content,
            metrics=content.metrics,
            meaning=content.meaning,
            figures=page,
            folds=_fold_rows(content),
            failures=_failure_table(content),
            audit=audit,
            banners=_banners(content, audit),
            shown=shown_models(content.metrics),
            kinds=defaultdict(
                str, {m: WORDS.get(r["kind"], "") for m, r in content.metrics["models"].items()}
            ),
            limitations=[*_ALWAYS, *content.limitations],
            version=__version__,
        )
    )
    write_text(target, text)
    return target


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("nodulenet.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=formats.number,
        signed=formats.signed,
        interval=formats.interval,
        percent=formats.percent,
        breakable=formats.breakable,
        count=formats.count,
        short=formats.short,
        between=formats.between,
        p_value=formats.p_value,
        plural=formats.plural,
        rule=formats.rule,
        spread=formats.spread,
        target=formats.target,
        with_level=formats.with_level,
        verdict=formats.verdict,
    )
    style = environment.get_template("report.css.j2").render(
        page_colours=Markup(PAGE_COLOURS), paper_colours=Markup(PAPER_COLOURS)
    )
    environment.globals["style"] = Markup(style)
    script = environment.get_template("report.js.j2").render()
    # The page's policy lets this very text run and no other.
    digest = hashlib.sha256(script.encode()).digest()
    environment.globals["script"] = Markup(script)
    environment.globals["script_hash"] = base64.b64encode(digest).decode()
    return environment


def shown_models(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The models that are shown one by one; baselines stand in the tables that compare."""
    models = metrics["models"]
    return {m: r for m, r in models.items() if not is_baseline(r["kind"])} or dict(models)


def _banners(content: ReportContent, audit: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is said in red above everything else."""
    banners = []
    if not audit["ok"]:
        banners.append(
            {"heading": audit["heading"], "lines": audit["wrong"], "advice": audit["advice"]}
        )
    confounding = content.metrics["confounding"]
    if confounding:
        lines = [
            f"{check['model']}, which knows how scans were made and nothing of the findings, has "
            f"an AUC of {formats.number(check['auc'])} ({formats.interval(check)}), which leaves "
            f"0.5."
            for check in confounding
        ]
        banners.append({"heading": _CONFOUNDED, "lines": lines, "advice": _CONFOUNDED_ADVICE})
    return banners


def _fold_rows(content: ReportContent) -> list[dict[str, int]]:
    """Findings, patients and classes of each fold."""
    table = content.folds
    if table is None:
        table = outer_rows(content.predictions).drop_duplicates(["finding_id", "fold"])
    return [
        {
            "fold": int(str(fold)),
            "findings": len(rows),
            "patients": int(rows["patient_id"].nunique()),
            "positives": int((rows["label"] == 1).sum()),
            "negatives": int((rows["label"] == 0).sum()),
        }
        for fold, rows in table.groupby("fold", sort=True)
        if int(str(fold)) >= 0
    ]


def _audit(content: ReportContent) -> dict[str, Any]:
    """The given audit, which knows the training parts; else what the table at hand shows.

    A patient in two folds is a leak only when training saw both: the official LUNA16 subsets have
    one such patient, whom training leaves out. So without an audit the table is taken at its
    worst.
    """
    lines = [str(line) for line in (content.audit or {}).get("lines", ())]
    ok = bool((content.audit or {}).get("ok", True))
    table: pd.DataFrame = (
        content.folds if content.folds is not None else outer_rows(content.predictions)
    )
    # What has no label is trained on alone, and left out where its patient is held out.
    names = crossing_patients(table[table["label"].notna()])
    if names:
        shown = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
        lines.append(f"{len(names)} patients have findings in more than one fold: {shown}")
        ok = ok and content.audit is not None
    elif any(str(note).startswith("no patient_id") for note in content.metrics["notes"]):
        lines.append(
            "Not checked: the table names no patients, so findings of one patient may lie in "
            "several folds."
        )
    elif content.audit is None and table["fold"].nunique() == 1:
        lines.append("Nothing to check: the table has one part.")
    elif content.audit is None:
        checked = table["patient_id"].nunique()
        lines.append(f"No patient is in more than one fold ({checked} patients checked).")
    given = content.audit or {}
    return {
        "ok": ok,
        "lines": lines,
        "wrong": given.get("wrong") or lines,
        "heading": given.get("heading", _LEAK),
        "advice": given.get("advice", _ADVICE),
    }


def _failure_table(content: ReportContent) -> dict[str, Any]:
    """Failures as columns and rows of text."""
    columns = list(dict.fromkeys(str(key) for row in content.failures for key in row))
    rows = [[str(row.get(column, "")) for column in columns] for row in content.failures]
    return {"columns": columns, "rows": rows}
