"""What a finding sheet says: all its words, numbers and pictures, once, for HTML and PDF alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nodulenet import __version__
from nodulenet.amounts import count_text
from nodulenet.config.meaning import MEANINGS
from nodulenet.ct import CTVolume
from nodulenet.errors import UsageError
from nodulenet.findings.table import POINT_COLUMNS
from nodulenet.inference.answers import Answers
from nodulenet.inference.outputs.answer_words import (
    NOT_GIVEN,
    RESEARCH_USE_ONLY,
    between_text,
    call_text,
    conformal_text,
    diameter_text,
    model_text,
    number_of,
    plain,
    position_text,
    probability_text,
    range_text,
    rows_of,
    text_of,
)
from nodulenet.inference.outputs.sheet_views import SheetView, views_of, window_text
from nodulenet.inference.outputs.sources import Saliency

TITLE = "Finding sheet"
OVERVIEW_FROM = 3
"""With so many findings the sheet begins with a table of them."""

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class SheetFinding:
    """One finding.

    Attributes:
        number: its place in the sheet, from 1.
        heading: number and name.
        probability: as text.
        meaning: what it is the probability of.
        facts: what else is known: label and text.
        warning: all its warnings, empty where there are none.
        views: axial, coronal, sagittal.
    """

    number: int
    heading: str
    probability: str
    meaning: str
    facts: Facts
    warning: str
    views: tuple[SheetView, ...]


@dataclass(frozen=True, kw_only=True)
class Overview:
    """All findings in a table.

    Attributes:
        columns: their headings.
        shares: their shares of the width, which sum to 1.
        rows: texts.
    """

    columns: tuple[str, ...]
    shares: tuple[float, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class SheetContent:
    """The whole sheet.

    Attributes:
        title: of the document.
        badge: what must not be overlooked.
        facts: scan, model and the like: label and text.
        warnings: about the scan as a whole, or the model.
        failures: findings without an answer, one line each.
        overview: where there are several findings.
        findings: in the order of the answers.
        legend: how the pictures are to be read; empty without pictures.
        footer: for the foot of every page.
    """

    title: str
    badge: str
    facts: Facts
    warnings: tuple[str, ...]
    failures: tuple[str, ...]
    overview: Overview | None
    findings: tuple[SheetFinding, ...]
    legend: str
    footer: tuple[str, ...]


def sheet_content(
    answers: Answers, volume: CTVolume, saliency: Mapping[str, Saliency] | None = None
) -> SheetContent:
    """Puts answers into words and pictures.

    Nothing is taken from the scan but its voxels and geometry: no name, no path.

    Args:
        answers: of one scan.
        volume: that scan.
        saliency: maps by ``finding_id``. Defaults to none.

    Raises:
        UsageError: the answers are of patches, or of several scans.
        PointOutsideScanError: they are of another scan.
        DataError: a map cannot be used.
    """
    table = answers.table
    if not set(POINT_COLUMNS) <= set(table.columns):
        raise UsageError("sheet: these answers have no points; expected answers of a scan")
    scans: list[str] = []
    if "scan_id" in table.columns:
        scans = [plain(scan) for scan in table["scan_id"].dropna().unique()]
    if len(scans) > 1:
        raise UsageError(f"sheet: the answers are of {len(scans)} scans; write one sheet a scan")
    rows = rows_of(answers)
    maps = saliency or {}
    views: list[tuple[SheetView, ...]] = []
    if rows:
        views = views_of(
            volume,
            table[list(POINT_COLUMNS)].to_numpy(dtype=np.float64),
            [number_of(row, "diameter_mm") for row in rows],
            [maps.get(str(row["finding_id"])) for row in rows],
        )
    findings = tuple(
        _finding(i, row, answers, len(rows), planes)
        for i, (row, planes) in enumerate(zip(rows, views, strict=True), start=1)
    )
    return SheetContent(
        title=TITLE,
        badge="RESEARCH USE ONLY",
        facts=_facts(answers, volume, [plain(scan) for scan in scans]),
        warnings=tuple(plain(text) for text in answers.warnings),
        failures=tuple(f"{plain(f['what'])}: {plain(f['error'])}" for f in answers.failures),
        overview=_overview(rows) if len(rows) >= OVERVIEW_FROM else None,
        findings=findings,
        legend=_legend(findings, answers),
        footer=(
            RESEARCH_USE_ONLY,
            f"Answered by {model_text(answers)}. Sheet by NoduleNet {__version__}.",
        ),
    )


def _finding(
    number: int, row: dict[str, Any], answers: Answers, count: int, views: tuple[SheetView, ...]
) -> SheetFinding:
    return SheetFinding(
        number=number,
        heading=f"Finding {number} of {count}: {text_of(row, 'finding_id')}",
        probability=probability_text(float(row["probability"])),
        meaning=answers.meaning,
        facts=(
            ("Fold models", range_text(row)),
            ("Call", call_text(row, answers)),
            ("Conformal answer", conformal_text(row, answers)),
            ("Diameter", diameter_text(row)),
            ("Position", position_text(row)),
        ),
        warning=text_of(row, "warnings"),
        views=views,
    )


def _facts(answers: Answers, volume: CTVolume, scans: list[str]) -> Facts:
    size = " x ".join(str(n) for n in volume.shape[::-1])
    spacing = " x ".join(f"{mm:.2f}" for mm in volume.spacing_mm)
    explained = MEANINGS.get(answers.label_meaning)
    facts = [
        ("Scan", scans[0] if scans else "no finding was answered"),
        ("Voxels", f"{size} of {spacing} mm (x, y, z)"),
        ("Meaning", f"{plain(answers.meaning)}. {explained.explanation if explained else ''}"),
        (
            "Prevalence",
            f"The probabilities hold where {100 * answers.prevalence:.3g} % of the findings are "
            f"“{answers.class_names[1]}”.",
        ),
        ("Answered by", model_text(answers)),
    ]
    if answers.bundle.get("card"):
        facts.append(("Model card", plain(answers.bundle["card"])))
    return tuple((label, text.strip()) for label, text in facts)


def _overview(rows: list[dict[str, Any]]) -> Overview:
    # Heading, share of the width and texts of each column.
    columns: list[tuple[str, float, list[str]]] = [
        ("No.", 0.05, [str(number) for number in range(1, len(rows) + 1)]),
        ("Finding", 0.24, [text_of(row, "finding_id") for row in rows]),
        ("Probability", 0.13, [probability_text(float(row["probability"])) for row in rows]),
        ("Fold models", 0.22, [between_text(row) for row in rows]),
        ("Call", 0.16, [text_of(row, "call") or NOT_GIVEN for row in rows]),
        ("Diameter", 0.11, [diameter_text(row) for row in rows]),
        ("Warning", 0.09, ["yes" if text_of(row, "warnings") else "no" for row in rows]),
    ]
    return Overview(
        columns=tuple(heading for heading, _, _ in columns),
        shares=tuple(share for _, share, _ in columns),
        rows=tuple(zip(*(texts for _, _, texts in columns), strict=True)),
    )


def _legend(findings: tuple[SheetFinding, ...], answers: Answers) -> str:
    if not findings:
        return ""
    text = (
        f"Planes through the finding, {window_text()}. R right, L left, A anterior, P posterior, "
        f"S superior, I inferior of the patient; the cross-hair leads to the finding."
    )
    mapped = sum(any(v.saliency is not None for v in f.views) for f in findings)
    if mapped:
        negative, positive = answers.class_names
        text += (
            f" Colours ({count_text(mapped, 'finding')}): what the model took for “{positive}” "
            f"(orange) and for “{negative}” (blue), each map scaled to its own largest value."
        )
    return text
