"""What two reporting guidelines ask for, item by item, and where the methods text answers it.

CLAIM: Checklist for Artificial Intelligence in Medical Imaging, 2024 update (44 items). Tejani
A. S. et al., Radiology: Artificial Intelligence 6:e240300, 2024, doi:10.1148/ryai.240300; numbers
as on the guideline's own site, https://rsna.github.io/claim.

TRIPOD+AI: Collins G. S. et al., BMJ 385:e078378, 2024, doi:10.1136/bmj-2023-078378 (27 items).

The words are ours and only say which item is meant; whoever fills in a checklist takes the
guideline itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from nodulenet.report.methods.paragraph import Paragraph
from nodulenet.report.methods.words import listed

CLAIM: Final[dict[str, str]] = {
    "1": "title or abstract: names the kind of AI",
    "2": "abstract: design, methods, results, conclusions",
    "3": "background, intended use and clinical role",
    "4": "aims, objectives, hypotheses",
    "5": "prospective or retrospective",
    "6": "goal of the study",
    "7": "data sources",
    "8": "inclusion and exclusion criteria, where and when",
    "9": "preprocessing",
    "10": "selection of subsets of the data",
    "11": "de-identification",
    "12": "missing data",
    "13": "image acquisition protocol",
    "14": "how the reference standard was obtained",
    "15": "why this reference standard",
    "16": "who annotated, with which qualification",
    "17": "how the test data were annotated",
    "18": "variability between and within readers",
    "19": "how data were assigned to partitions",
    "20": "level at which partitions are disjoint",
    "21": "intended sample size",
    "22": "the model in detail",
    "23": "software and versions",
    "24": "initialisation of the weights",
    "25": "training in detail",
    "26": "how the final model was selected",
    "27": "ensembling",
    "28": "performance metrics",
    "29": "uncertainty and significance",
    "30": "robustness or sensitivity analysis",
    "31": "explainability, and how it was checked",
    "32": "evaluation on internal data",
    "33": "testing on external data",
    "34": "trial registration",
    "35": "flow: numbers included and excluded",
    "36": "demographic and clinical characteristics, by partition",
    "37": "performance on each partition, with uncertainty",
    "38": "diagnostic performance and its precision",
    "39": "analysis of wrong results",
    "40": "limitations",
    "41": "implications for practice",
    "42": "protocol or further technical details",
    "43": "availability of software, model, data",
    "44": "funding and the role of funders",
}
"""Item -> what it asks for."""

TRIPOD_AI: Final[dict[str, tuple[str, str]]] = {
    "1": ("DE", "title: development or evaluation, population, outcome"),
    "2": ("DE", "abstract, by its own checklist"),
    "3a": ("DE", "healthcare context, rationale, existing models"),
    "3b": ("DE", "target population, purpose, intended users"),
    "3c": ("DE", "known health inequalities"),
    "4": ("DE", "objectives; development, evaluation or both"),
    "5a": ("DE", "data sources, why these, how representative"),
    "5b": ("DE", "dates of the data"),
    "6a": ("DE", "setting, number and place of centres"),
    "6b": ("DE", "eligibility of participants"),
    "6c": ("DE", "treatments, where relevant"),
    "7": ("DE", "preparation and quality checks, alike across groups"),
    "8a": ("DE", "outcome, when and how assessed, why chosen"),
    "8b": ("DE", "who assessed a subjective outcome"),
    "8c": ("DE", "blinding of the outcome's assessment"),
    "9a": ("D", "choice of predictors"),
    "9b": ("DE", "definition and measurement of predictors"),
    "9c": ("DE", "who assessed subjective predictors"),
    "10": ("DE", "sample size and its justification"),
    "11": ("DE", "missing data, reasons for leaving data out"),
    "12a": ("D", "how data were used and partitioned"),
    "12b": ("D", "handling of predictors (scaling, transformation)"),
    "12c": ("D", "type of model, rationale, building, tuning, internal validation"),
    "12d": ("DE", "heterogeneity across clusters such as hospitals"),
    "12e": ("DE", "measures and plots of performance, comparison of models"),
    "12f": ("E", "updating of the model, such as recalibration"),
    "12g": ("E", "how predictions were calculated"),
    "13": ("DE", "class imbalance and recalibration after it"),
    "14": ("DE", "fairness"),
    "15": ("D", "output of the model; classification and its thresholds"),
    "16": ("DE", "differences between development and evaluation data"),
    "17": ("DE", "ethics approval and consent"),
    "18a": ("DE", "funding"),
    "18b": ("DE", "conflicts of interest"),
    "18c": ("DE", "protocol"),
    "18d": ("DE", "registration"),
    "18e": ("DE", "availability of data"),
    "18f": ("DE", "availability of code"),
    "19": ("DE", "involvement of patients and the public"),
    "20a": ("DE", "flow of participants, with and without the outcome"),
    "20b": ("DE", "characteristics of participants"),
    "20c": ("E", "comparison of the evaluation data with the development data"),
    "21": ("DE", "participants and events in each analysis"),
    "22": ("D", "the full model, and access to it"),
    "23a": ("DE", "performance with intervals, subgroups included"),
    "23b": ("DE", "heterogeneity across clusters, if examined"),
    "24": ("E", "results of updating the model"),
    "25": ("DE", "interpretation, fairness included"),
    "26": ("DE", "limitations"),
    "27a": ("D", "poor or unavailable input data in use"),
    "27b": ("D", "interaction and expertise required of users"),
    "27c": ("DE", "next steps"),
}
"""Item -> what it is about (D development, E evaluation, DE both), what it asks for."""


def item_tag(paragraph: Paragraph) -> str:
    """``[CLAIM 7*, 10; TRIPOD+AI 5a*]``: the items of a paragraph, ``*`` where only in part."""
    parts = [
        f"{name} {', '.join(item + ('*' if missing else '') for item, missing in items.items())}"
        for name, items in (("CLAIM", paragraph.claim), ("TRIPOD+AI", paragraph.tripod))
        if items
    ]
    return f"[{'; '.join(parts)}]" if parts else ""


def checklist_lines(paragraphs: Sequence[Paragraph], *, external: bool) -> list[str]:
    """The section with both tables, for a development or for an external validation."""
    stage, elsewhere = (
        ("E", "about development: see the paper on the model")
        if external
        else ("D", "about the evaluation of an existing model")
    )
    return [
        "## Checklists",
        "",
        "The words are short hints of ours; the guidelines themselves say what an item asks for.",
        "",
        "### CLAIM, 2024 update",
        "",
        *_table(CLAIM, [(p.title, p.claim) for p in paragraphs], elsewhere={}),
        "",
        "### TRIPOD+AI",
        "",
        *_table(
            {item: asked for item, (_, asked) in TRIPOD_AI.items()},
            [(p.title, p.tripod) for p in paragraphs],
            elsewhere={i: elsewhere for i, (about, _) in TRIPOD_AI.items() if stage not in about},
        ),
        "",
        "Sources: Tejani A. S. et al., Radiology: Artificial Intelligence 6:e240300, 2024; "
        "Collins G. S. et al., BMJ 385:e078378, 2024.",
    ]


def _table(
    asked: Mapping[str, str],
    answers: Sequence[tuple[str, Mapping[str, str]]],
    *,
    elsewhere: Mapping[str, str],
) -> list[str]:
    """All items of a guideline: answered above, in part, elsewhere, or for the authors."""
    lines = ["| item | about | where |", "|---|---|---|"]
    for item, what in asked.items():
        found = [(title, items[item]) for title, items in answers if item in items]
        titles = listed(f"*{title}*" for title, _ in found)
        missing = list(dict.fromkeys(m for _, m in found if m))
        if not found:
            where = elsewhere.get(
                item, "**not known to the software: to be written by the authors**"
            )
        elif any(not m for _, m in found):
            # Wherever one paragraph answers an item fully, it is answered.
            where = titles
        else:
            where = f"in part: {titles}; to add: {'; '.join(missing)}"
        lines.append(f"| {item} | {what} | {where} |")
    return lines
