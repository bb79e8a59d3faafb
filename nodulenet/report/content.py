"""What a report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.config.meaning import (
    MEANINGS,
    NO_MEANING,
    STATED_NOWHERE,
    UNSTATED,
    LabelMeaning,
    Meaning,
)
from nodulenet.errors import UsageError

Pixels = npt.NDArray[np.floating[Any]] | npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class Plane:
    """One plane of a patch, as it is looked at: rows from top to bottom.

    Attributes:
        name: ``"axial"``, ``"coronal"`` or ``"sagittal"``.
        image_hu: HU, shape (rows, columns).
        spacing_mm: Pixel size (across, down).
        saliency: -1..1, of the image's shape. Defaults to none.
    """

    name: Literal["axial", "coronal", "sagittal"]
    image_hu: Pixels
    spacing_mm: tuple[float, float]
    saliency: npt.NDArray[np.floating[Any]] | None = None

    def __post_init__(self) -> None:
        _check_picture(f"{self.name} plane", self.image_hu, self.saliency)


@dataclass(frozen=True, kw_only=True)
class GalleryItem:
    """One patch for the gallery.

    Attributes:
        image_hu: HU of one slice, (y, x).
        spacing_mm: Pixel size (x, y).
        kind: ``"mistake"`` or ``"success"``.
        caption: ``label`` (0 or 1) and ``probability``, and what else is known: ``model,
            finding_id, fold, diameter_mm`` ...
        saliency: What the model looked at, -1..1, of the image's shape. Defaults to none.
        planes: Of a 3D patch: axial, coronal and sagittal plane, of
            :func:`nodulenet.report.gallery.planes_of`. Defaults to none.
    """

    image_hu: Pixels
    spacing_mm: tuple[float, float]
    kind: Literal["mistake", "success"]
    caption: Mapping[str, Any]
    saliency: npt.NDArray[np.floating[Any]] | None = None
    planes: tuple[Plane, ...] = ()

    def __post_init__(self) -> None:
        _check_picture("image", self.image_hu, self.saliency)
        for name in ("label", "probability"):
            if name not in self.caption:
                raise UsageError(f"gallery: the caption lacks {name!r}; add it")
        names = tuple(plane.name for plane in self.planes)
        if names not in ((), ("axial", "coronal", "sagittal")):
            raise UsageError(
                f"gallery: planes {', '.join(names)}; expected axial, coronal, sagittal, or none"
            )


def _check_picture(
    what: str, image: Pixels, saliency: npt.NDArray[np.floating[Any]] | None
) -> None:
    if np.ndim(image) != 2:
        raise UsageError(
            f"gallery: {what} of shape {np.shape(image)}; expected (y, x): take a slice"
        )
    if saliency is not None and np.shape(saliency) != np.shape(image):
        raise UsageError(
            f"gallery: saliency of shape {np.shape(saliency)} on an {what} of shape "
            f"{np.shape(image)}; give both of the same patch without margin"
        )


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
        audit: ``{"ok": bool, "lines": [str, ...]}``; not ok gives a red banner with the lines that
            are ``"wrong"`` (default: all), a ``"heading"`` and ``"advice"``.
        config_yaml: The resolved configuration.
        versions: Name -> version.
        hashes: Of what the results depend on, name -> BLAKE2 hash.
        command: The commands that made the results, one a line.
        seed: The root seed.
        data_facts: Further facts about the data, name -> value.
        failures: Scans, findings or folds that failed: mappings with the same keys.
        warnings: What was tolerated.
        gallery: Patches.
        parts: Who trains, chooses the epoch, calibrates and is held out in each fold, of
            :func:`nodulenet.report.parts.parts_of_folds`.
        scorings: How often held-out findings were scored, of
            :func:`nodulenet.report.parts.count_scorings`.
        not_available: ``{"label", "why"}`` of baselines and stacks that could not be made.
        limitations: Sentences; the report adds its own that always hold.
        created: When, as text; left out when empty.
    """

    title: str
    label_meaning: LabelMeaning | Literal["unstated"]
    metrics: Mapping[str, Any]
    predictions: pd.DataFrame
    histories: Mapping[str, Mapping[Any, pd.DataFrame]] = field(default_factory=dict)
    folds: pd.DataFrame | None = None
    audit: Mapping[str, Any] | None = None
    config_yaml: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    seed: int | None = None
    data_facts: Mapping[str, Any] = field(default_factory=dict)
    failures: Sequence[Mapping[str, Any]] = ()
    warnings: Sequence[str] = ()
    gallery: Sequence[GalleryItem] = ()
    parts: Sequence[Mapping[str, Any]] = ()
    scorings: Mapping[str, int] | None = None
    not_available: Sequence[Mapping[str, str]] = ()
    limitations: Sequence[str] = ()
    created: str = ""

    def __post_init__(self) -> None:
        if self.label_meaning not in (*MEANINGS, UNSTATED):
            raise UsageError(
                f"report: label_meaning {self.label_meaning!r} is unknown; use one of "
                f"{', '.join(MEANINGS)}, or {UNSTATED}"
            )

    @property
    def meaning(self) -> Meaning:
        """What the label is, in words."""
        return MEANINGS.get(self.label_meaning, NO_MEANING)

    @property
    def label_basis(self) -> dict[str, int]:
        """What the labels of the evaluated findings rest on, and of how many; empty where unsaid.

        From the column ``label_basis`` of the predictions.
        """
        if "label_basis" not in self.predictions.columns:
            return {}
        outer = self.predictions[self.predictions["split"] == "outer"]
        given = outer.drop_duplicates("finding_id")["label_basis"].astype("string").str.strip()
        words = given.mask(given == "")
        if words.isna().all():
            return {}
        counts = words.fillna(STATED_NOWHERE).value_counts()
        return {str(basis): int(count) for basis, count in counts.items()}

    @property
    def label(self) -> dict[str, Any]:
        """What a label is and what every probability is of, for ``metrics.json``."""
        return {
            "meaning": self.label_meaning,
            "probability_of": self.meaning.probability_of,
            "explanation": self.meaning.explanation,
            "basis": self.label_basis,
        }
