"""What a report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.config.meaning import MEANINGS, LabelMeaning, Meaning
from nodulenet.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class GalleryItem:
    """One patch for the gallery.

    Attributes:
        image_hu: HU of one slice, (y, x).
        spacing_mm: Pixel size (x, y).
        kind: ``"mistake"`` or ``"success"``.
        caption: ``label`` (0 or 1) and ``probability``, and what else is known: ``model,
            finding_id, fold, diameter_mm`` ...
    """

    image_hu: npt.NDArray[np.floating[Any]] | npt.NDArray[np.integer[Any]]
    spacing_mm: tuple[float, float]
    kind: Literal["mistake", "success"]
    caption: Mapping[str, Any]

    def __post_init__(self) -> None:
        if np.ndim(self.image_hu) != 2:
            raise UsageError(
                f"gallery: image of shape {np.shape(self.image_hu)}; expected (y, x): take a slice"
            )
        for name in ("label", "probability"):
            if name not in self.caption:
                raise UsageError(f"gallery: the caption lacks {name!r}; add it")


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """Everything that a report shows; what is left out is not mentioned in it.

    Attributes:
        title: Heading of the report.
        label_meaning: What the label is; the report says so beside every probability.
        metrics: Of :func:`nodulenet.evaluation.summary.summarize`.
        predictions: The validated predictions table that the metrics were computed from.
        histories: Model -> fold -> table of ``epoch, loss, val_loss, val_auc``.
        folds: ``finding_id, patient_id, fold, label``; defaults to what the predictions hold.
        audit: ``{"ok": bool, "lines": [str, ...]}``; not ok gives a red banner.
        config_yaml: The resolved configuration.
        versions: Name -> version.
        command: The command that made the run.
        seed: The root seed.
        data_facts: Further facts about the data, name -> value.
        failures: Scans, findings or folds that failed: mappings with the same keys.
        warnings: What was tolerated.
        gallery: Patches.
        limitations: Sentences; the report adds its own that always hold.
        created: When, as text; left out when empty.
    """

    title: str
    label_meaning: LabelMeaning
    metrics: Mapping[str, Any]
    predictions: pd.DataFrame
    histories: Mapping[str, Mapping[Any, pd.DataFrame]] = field(default_factory=dict)
    folds: pd.DataFrame | None = None
    audit: Mapping[str, Any] | None = None
    config_yaml: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    seed: int | None = None
    data_facts: Mapping[str, Any] = field(default_factory=dict)
    failures: Sequence[Mapping[str, Any]] = ()
    warnings: Sequence[str] = ()
    gallery: Sequence[GalleryItem] = ()
    limitations: Sequence[str] = ()
    created: str = ""

    def __post_init__(self) -> None:
        if self.label_meaning not in MEANINGS:
            raise UsageError(
                f"report: label_meaning {self.label_meaning!r} is unknown; use one of "
                f"{', '.join(MEANINGS)}"
            )

    @property
    def meaning(self) -> Meaning:
        return MEANINGS[self.label_meaning]
