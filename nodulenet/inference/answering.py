"""How a bundle is asked: by which threshold, at which miss rate, for which prevalence."""

from __future__ import annotations

from dataclasses import dataclass

from nodulenet.errors import ConfigError
from nodulenet.evaluation.conformal import ConformalSets
from nodulenet.inference.answers import OperatingPoint
from nodulenet.inference.bundle import Bundle
from nodulenet.inference.bundled_model import BundledModel


@dataclass(frozen=True)
class Answering:
    """What is wished; None is the bundle's own default.

    Attributes:
        operating_point: name of one, or its beginning where that is clear (``sensitivity``).
        miss_rate: of the conformal answer.
        prevalence: share of positives where the answers are to hold; None is the training's.
    """

    operating_point: str | None = None
    miss_rate: float | None = None
    prevalence: float | None = None


@dataclass(frozen=True)
class Chosen:
    """What a bundle has of it; None where it has none."""

    operating_point: OperatingPoint | None
    conformal: ConformalSets | None
    prevalence: float | None


def chosen_answering(bundle: Bundle, model: BundledModel, wished: Answering) -> Chosen:
    """What the model has of what is wished.

    Raises:
        ConfigError: it has no such operating point or miss rate, or a prevalence is wished for
            answers that cannot be re-based.
    """
    prevalence = wished.prevalence
    if prevalence is not None:
        if not 0 < prevalence < 1:
            raise ConfigError(f"prevalence {prevalence}: expected a share between 0 and 1")
        if model.calibration is None or not 0 < bundle.prevalence < 1:
            raise ConfigError(
                f"{bundle.path}: {model.key} is not calibrated to a known prevalence, so its "
                f"answers cannot be moved to {prevalence:g}; leave the prevalence out"
            )
    return Chosen(_point(bundle, model, wished), _limits(bundle, model, wished), prevalence)


def _point(bundle: Bundle, model: BundledModel, wished: Answering) -> OperatingPoint | None:
    name = wished.operating_point
    if name is None:
        return model.operating_points[0] if model.operating_points else None
    found = [p for p in model.operating_points if p.name.lower() == name.lower()]
    found = found or [p for p in model.operating_points if p.name.lower().startswith(name.lower())]
    if len(found) == 1:
        return found[0]
    known = ", ".join(repr(p.name) for p in model.operating_points) or "none"
    what = f"several operating points {name!r}" if found else f"no operating point {name!r}"
    raise ConfigError(f"{bundle.path}: {model.key} has {what}; it has {known}")


def _limits(bundle: Bundle, model: BundledModel, wished: Answering) -> ConformalSets | None:
    if wished.miss_rate is None:
        return model.conformal[0] if model.conformal else None
    for limits in model.conformal:
        if abs(limits.miss_rate - wished.miss_rate) < 1e-9:
            return limits
    known = ", ".join(f"{c.miss_rate:g}" for c in model.conformal) or "none"
    raise ConfigError(
        f"{bundle.path}: {model.key} has no conformal answer for a miss rate of "
        f"{wished.miss_rate:g}; it has {known} (evaluate.miss_rates of the training, as far as it "
        f"had enough findings of each class)"
    )
