"""The report of any table of predictions, ours or anybody's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from nodulenet.config.meaning import LabelMeaning
from nodulenet.config.schema import EvaluateConfig
from nodulenet.evaluation.froc_tables import FrocReference
from nodulenet.evaluation.summary import summarize
from nodulenet.evaluation.table import read_predictions
from nodulenet.report.content import ReportContent
from nodulenet.report.publish import Report, publish
from nodulenet.report.sharing import Sharing
from nodulenet.training.run import refuse_folder_of_training
from nodulenet.versions import command_line, file_hash, versions


def report_on_table(
    file: Path,
    folder: Path,
    settings: EvaluateConfig | None = None,
    *,
    label_meaning: LabelMeaning | Literal["unstated"] = "unstated",
    columns: Mapping[str, str] | None = None,
    froc: FrocReference | None = None,
    seed: int = 0,
    share: bool = False,
) -> Report:
    """Evaluate a CSV of predictions: ``metrics.json``, ``figures/`` and ``report.html``.

    Args:
        file: CSV with ``label, probability`` and any of ``finding_id, patient_id, fold, model,
            split, diameter_mm`` ...; see :func:`nodulenet.evaluation.table.read_predictions`.
        folder: Where the results go; made when needed.
        settings: What to report; the ``evaluate`` section of a configuration.
        label_meaning: What label 1 is; without it the report says that nobody said so.
        columns: Our names -> the names in the file.
        froc: Annotations and series, for a FROC.
        seed: Root seed of the bootstraps. Defaults to 0.
        share: Replace ids, UIDs and paths, for a report that is passed on. Defaults to False.

    Raises:
        UsageError: ``share``, and the user's key cannot be kept.
        RunError: the folder holds a training.
        PredictionsError: the table is wrong; the message names row, column and remedy.
    """
    refuse_folder_of_training(folder)
    predictions = read_predictions(file, source_name=file.name, columns=columns)
    return publish(
        folder,
        ReportContent(
            title=file.stem,
            label_meaning=label_meaning,
            metrics=summarize(predictions, settings, froc=froc, seed=seed),
            predictions=predictions,
            versions=versions(),
            hashes={file.name: file_hash(file)},
            command=command_line(),
            seed=seed,
            limitations=(
                "Made from a table of predictions. How they came about (training, patients left "
                "out, choice of the model) is not known here.",
            ),
        ),
        sharing=Sharing([predictions], [file, folder]) if share else None,
    )
