"""One finding of a scan: its answer, the map that goes with it, and the files of both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from nodulenet import __version__
from nodulenet.atomic import write_json
from nodulenet.config.meaning import MEANINGS
from nodulenet.config.patch_spec import PatchSpec
from nodulenet.ct import CTVolume
from nodulenet.errors import DataError, UsageError
from nodulenet.inference.bundle import Bundle
from nodulenet.inference.bundled_model import BundledModel
from nodulenet.inference.explain.explanation import Explanation, rank_correlation
from nodulenet.inference.explain.map_image import map_images, write_maps
from nodulenet.inference.explain.occlusion import Answer, Fill, answers_of, occlusion
from nodulenet.patches.prepare import cut_patch, preparation
from nodulenet.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Method = Literal["grad-cam", "occlusion"]
METHODS: tuple[Method, ...] = ("grad-cam", "occlusion")

MUCH_ALIKE = 0.5
"""Rank correlation with the map of random weights from which a map is called no explanation."""

SIGN = "above 0 speaks for the positive class, below 0 against it"


@dataclass(frozen=True)
class ExplainedFinding:
    """A finding, its answer, and the map.

    Attributes:
        explanation: the map and how it was made.
        patch: float32 source values (HU) in the geometry of the map.
        spec: what the patch is.
        scan_id: of the scan.
        point_lps_mm: (x, y, z).
        probability: calibrated.
        probability_raw: mean of the models.
        model: key of the model that answered.
        bundle: ``name`` and ``hash``.
        label_meaning: candidate, reader_rating or outcome.
        random_correlation: how alike the models' maps are to those of the same networks with
            random weights, the mean size of the rank correlation; None where it was not asked for.
    """

    explanation: Explanation
    patch: npt.NDArray[np.float32]
    spec: PatchSpec
    scan_id: str
    point_lps_mm: tuple[float, float, float]
    probability: float
    probability_raw: float
    model: str
    bundle: dict[str, str]
    label_meaning: str
    random_correlation: float | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the map must know, the check with random weights included."""
        notes, alike = self.explanation.notes, self.random_correlation
        agreement = self.explanation.agreement
        if alike is not None and alike > MUCH_ALIKE:
            return (
                f"networks with random weights give much the same map (rank correlation "
                f"{alike:.2f}): it shows the picture, not what was learned",
                *notes,
            )
        if alike is not None and agreement is not None and agreement <= alike:
            return (
                f"the models' maps are no more like each other ({agreement:.2f}) than like those "
                f"of random weights ({alike:.2f}): they do not show one place",
                *notes,
            )
        return notes

    def to_dict(self) -> dict[str, Any]:
        """All but the map, as JSON can hold it."""
        e, meaning = self.explanation, MEANINGS[self.label_meaning]
        return {
            "nodulenet": __version__,
            "use": "research use only",
            "scan_id": self.scan_id,
            "point_lps_mm": [round(v, 4) for v in self.point_lps_mm],
            "patch": self.spec.model_dump(mode="json", include={"form", "size", "spacing_mm"}),
            "bundle": self.bundle,
            "model": self.model,
            "label_meaning": self.label_meaning,
            "meaning": f"probability {meaning.probability_of}",
            "class_names": list(meaning.class_names),
            "probability": self.probability,
            "probability_raw": self.probability_raw,
            "method": e.method,
            "what": e.what,
            "unit": e.unit,
            "sign": SIGN,
            **e.facts,
            "strongest": self.strongest(),
            "agreement_of_models": e.agreement,
            "rank_correlation_with_random_weights": self.random_correlation,
            "notes": list(self.notes),
        }

    def strongest(self) -> dict[str, Any]:
        """The value furthest from 0, and where it lies in LPS mm (x, y, z)."""
        images = map_images(self.explanation.values, self.spec, self.point_lps_mm)
        image = max(images, key=lambda i: float(np.abs(i.values).max()))
        index = np.unravel_index(int(np.abs(image.values).argmax()), image.values.shape)
        place = image.affine_lps @ [*index[::-1], 1.0]
        away = place[:3] - self.point_lps_mm
        return {
            "value": float(image.values[index]),
            "plane": None if image.name == "map" else image.name,
            "point_lps_mm": [round(float(v), 3) for v in place[:3]],
            "from_the_centre_mm": round(float(np.linalg.norm(away)), 3),
        }

    def figure(self) -> Figure:
        """The planes, the map over them, and what it is; see :mod:`nodulenet.plots.explanation`."""
        from nodulenet.plots.explanation import explained_planes, explanation_figure

        e, meaning = self.explanation, MEANINGS[self.label_meaning]
        positive = meaning.class_names[1]
        kind: Literal["body", "planes"] = "planes" if self.spec.orthogonal_planes else "body"
        values, saliency = self.patch, e.scaled
        if self.spec.neighbouring_slices:  # a few slices make no coronal plane
            values, saliency = (a[len(a) // 2] for a in (values, saliency))
        where = ", ".join(f"{v:.1f}" for v in self.point_lps_mm)
        checks = []
        if e.agreement is not None:
            checks.append(f"rank correlation between the models' maps {e.agreement:.2f}")
        if self.random_correlation is not None:
            checks.append(f"with those of random weights {self.random_correlation:.2f} in size")
        says = [
            f"{e.what}. Lines at half of the strongest value.",
            f"The probability is that {_clause(meaning.probability_of)}. {meaning.explanation}",
            *([f"{'; '.join(checks).capitalize()}."] if checks else []),
            *(f"Note: {note}." for note in self.notes),
            "A map shows what the model reacted to, not what is there. Research use only.",
        ]
        return explanation_figure(
            explained_planes(values, saliency, self.spec.spacing_xyz_mm, kind=kind),
            title=f"{_short(self.scan_id)} at ({where}) mm LPS: probability of “{positive}” "
            f"{self.probability:.2f} ({self.model})",
            says=says,
            positive=positive,
            window=self.spec.windows[0],
            strongest=float(np.abs(e.values).max()),
            unit="fall of the probability" if e.method == "occlusion" else "log-odds a cell",
        )


def explain_finding(
    volume: CTVolume,
    point_lps_mm: npt.ArrayLike,
    bundle: Bundle,
    *,
    method: Method = "grad-cam",
    model: str | None = None,
    layer: str | None = None,
    box_mm: float | None = None,
    stride_mm: float | None = None,
    fill: Fill | float = "median",
    random_check: bool = True,
    progress: Progress | None = None,
) -> ExplainedFinding:
    """What the answer at a point of a scan rests on.

    Args:
        volume: the scan.
        point_lps_mm: (x, y, z).
        bundle: what answers.
        method: "grad-cam" or "occlusion". Defaults to "grad-cam".
        model: which of the bundle's models. Defaults to its first.
        layer: of :func:`nodulenet.inference.explain.grad_cam.grad_cam`. Defaults to its rule.
        box_mm, stride_mm, fill: of :func:`nodulenet.inference.explain.occlusion.occlusion`.
        random_check: whether the map is compared with that of random weights, which takes as long
            again. Defaults to True.
        progress: who is told. Defaults to nobody.

    Raises:
        PointOutsideScanError: the point lies outside the scan.
        DataError: the bundle answers for patches that are not HU.
        UsageError: an unknown method, layer or fill, or a box that does not fit.
    """
    if bundle.values.kind != "hu":
        raise DataError(
            f"{bundle.path}: was trained on plain intensities, not on HU, so it says nothing about "
            f"a CT scan"
        )
    chosen = bundle.model(model)
    point = np.asarray(point_lps_mm, dtype=np.float64)
    stored = cut_patch(preparation(bundle.spec), volume, point, bundle.spec)
    explained = explain_patch(
        stored,
        bundle,
        chosen,
        method=method,
        layer=layer,
        box_mm=box_mm,
        stride_mm=stride_mm,
        fill=fill,
        random_check=random_check,
        progress=progress,
    )
    x, y, z = (float(v) for v in point)
    return replace(explained, scan_id=volume.series_uid, point_lps_mm=(x, y, z))


def explain_patch(
    stored: npt.NDArray[np.int16],
    bundle: Bundle,
    chosen: BundledModel,
    *,
    method: Method = "grad-cam",
    layer: str | None = None,
    box_mm: float | None = None,
    stride_mm: float | None = None,
    fill: Fill | float = "median",
    random_check: bool = True,
    progress: Progress | None = None,
) -> ExplainedFinding:
    """As :func:`explain_finding`, for a patch as a store has it, around LPS (0, 0, 0)."""
    if method not in METHODS:
        raise UsageError(f"explain: method is {method!r}; expected {' or '.join(METHODS)}")
    spec, values = bundle.spec, bundle.values
    by_fold = np.atleast_2d(bundle.predict(stored[np.newaxis], chosen.key))
    raw = float(by_fold.mean())
    calibration = chosen.calibration
    correlation = None
    if method == "grad-cam":
        # Imported here: it needs Keras, which occlusion leaves to the bundle.
        from nodulenet.inference.explain.grad_cam import grad_cam

        models = bundle.networks(chosen.key)

        def maps(of: list[Any]) -> Explanation:
            return grad_cam(of, stored, spec, values, target=bundle.target, layer=layer)

        explanation = maps(models)
    else:

        def covered(answer: Answer) -> Explanation:
            return occlusion(
                answer,
                stored,
                spec,
                values,
                box_mm=box_mm,
                stride_mm=stride_mm,
                fill=fill,
                progress=progress,
            )

        def maps(of: list[Any]) -> Explanation:
            answer, folds = answers_of(of, spec, values, bundle.target), np.array(chosen.folds)
            # As the bundle does it: the seeds of a fold answer as one.
            return covered(lambda patches: _by_fold(answer(patches), folds))

        explanation = covered(lambda patches: bundle.predict(patches, chosen.key))
    if random_check:
        from nodulenet.inference.explain.randomised import randomised

        random = [randomised(m, seed) for seed, m in enumerate(bundle.networks(chosen.key))]
        pairs = zip(explanation.by_model, maps(random).by_model, strict=True)
        # The sign of what random weights answer is chance.
        correlation = float(np.mean([abs(rank_correlation(a, b)) for a, b in pairs]))
    m = spec.margin_voxels
    inner = tuple(slice(m, m + n) for n in spec.size)
    patch = stored[(slice(None), *inner) if spec.orthogonal_planes else inner]
    return ExplainedFinding(
        explanation=explanation,
        patch=values.from_stored(patch),
        spec=spec,
        scan_id="",
        point_lps_mm=(0.0, 0.0, 0.0),
        probability=float(calibration.apply(np.array([raw]))[0]) if calibration else raw,
        probability_raw=raw,
        model=chosen.key,
        bundle={"name": bundle.name, "hash": bundle.hash},
        label_meaning=bundle.label_meaning,
        random_correlation=correlation,
    )


def write_explained(
    folder: str | Path, explained: ExplainedFinding, *, scan: CTVolume | None = None
) -> list[Path]:
    """Writes the map (NIfTI), ``explanation.png`` and ``explanation.json``.

    Args:
        folder: where to; made where it is not there.
        explained: the finding.
        scan: with it, the map is written in the scan's voxels too. Defaults to None.

    Returns:
        The files, the maps first.
    """
    from nodulenet.plots.render import save_png

    target = Path(folder)
    e = explained.explanation
    images = map_images(e.values, explained.spec, explained.point_lps_mm)
    files = write_maps(target, images, scan)
    files.append(save_png(explained.figure(), target / "explanation.png"))
    names = [file.name for file in files]
    write_json(target / "explanation.json", {**explained.to_dict(), "files": names})
    return [*files, target / "explanation.json"]


def _by_fold(
    answers: npt.NDArray[np.float64], folds: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    return np.stack([answers[folds == fold].mean(axis=0) for fold in dict.fromkeys(folds)])


def _clause(text: str) -> str:
    return text.removeprefix("that ")


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"\u2026{name[-27:]}"
