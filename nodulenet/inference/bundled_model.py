"""What a bundle's list says of one of its models, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nodulenet.config.schema import ColumnConfig
from nodulenet.errors import FindingsError
from nodulenet.evaluation.calibrators import PlattCalibration
from nodulenet.evaluation.conformal import ConformalSets
from nodulenet.inference.answers import OperatingPoint
from nodulenet.training.fitted_stack import FittedStack

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ShippedFamiliarity:
    """How far from the training is far, by the features of the fold models.

    Attributes:
        files: of :class:`nodulenet.training.familiarity.Familiar`, one a model file.
        hashes: theirs.
        scales: median distance of rows that each model was not trained on.
        threshold: on the mean over the models of distance / scale.
        false_alarm: share of held-out findings beyond it, each asked of one model of its fold.
    """

    files: tuple[str, ...]
    hashes: tuple[str, ...]
    scales: tuple[float, ...]
    threshold: float
    false_alarm: float


@dataclass(frozen=True)
class BundledModel:
    """One model of the bundle: a network's fold models and what is made of their answers.

    Attributes:
        key: its name.
        network: the network whose models it asks; itself, but for poses and stacks.
        registry_name: of that network.
        files, hashes, folds: one a model file.
        calibration: of the mean of its fold models; None where that says nothing.
        poses: test-time poses that are averaged.
        stack: its columns and its fit of each fold; None for a network.
        operating_points: the first one is the default.
        conformal: limits by miss rate, the first one is the default.
        familiarity: None where the training kept none.
    """

    key: str
    network: str
    registry_name: str
    files: tuple[str, ...]
    hashes: tuple[str, ...]
    folds: tuple[int, ...]
    calibration: PlattCalibration | None
    poses: int = 1
    stack: ShippedStack | None = None
    operating_points: tuple[OperatingPoint, ...] = ()
    conformal: tuple[ConformalSets, ...] = ()
    familiarity: ShippedFamiliarity | None = None


@dataclass(frozen=True)
class ShippedStack:
    """Covariates, and how each fold joins them with its network's probability."""

    columns: tuple[ColumnConfig, ...]
    folds: Mapping[int, FittedStack]

    @property
    def numbers(self) -> frozenset[str]:
        """Covariates that are numbers; words are the others, whatever the new cells look like."""
        return frozenset(term.column for fit in self.folds.values() for term in fit.numbers)


def stack_covariates(
    model: BundledModel, findings: pd.DataFrame | None, count: int
) -> pd.DataFrame:
    """The covariates of a stack.

    Raises:
        FindingsError: one is absent, or empty where that is refused.
    """
    from nodulenet.training.covariates import covariates

    assert model.stack is not None
    if findings is None or len(findings) != count:
        names = ", ".join(c.column for c in model.stack.columns)
        raise FindingsError(
            f"{model.key}: needs {names} of every finding, and none is given; give them as columns "
            f"beside the points, or ask {model.network}"
        )
    return covariates(findings, model.stack.columns, model.key, numbers=model.stack.numbers)


def read_models(content: dict[str, Any]) -> dict[str, BundledModel]:
    """Networks, then what is made of them, by key.

    Raises:
        KeyError, TypeError, ValueError, PredictionsError: the list is not whole.
    """
    found = {key: _network(key, entry) for key, entry in content["models"].items()}
    for key, entry in content.get("derived", {}).items():
        network = found[entry["network"]]
        stack = entry.get("stack")
        found[key] = replace(
            network,
            key=key,
            poses=int(entry["poses"]),
            stack=None
            if stack is None
            else ShippedStack(
                tuple(ColumnConfig.model_validate(c) for c in stack["columns"]),
                {int(fold): FittedStack.from_dict(fit) for fold, fit in stack["folds"].items()},
            ),
            **_made_of_answers(entry),
        )
    return found


def _network(key: str, entry: dict[str, Any]) -> BundledModel:
    familiarity = entry.get("familiarity")
    return BundledModel(
        key=key,
        network=key,
        registry_name=entry.get("registry_name", key),
        files=tuple(entry["files"]),
        hashes=tuple(entry["hashes"]),
        # Before there were several seeds, every file was a fold of its own.
        folds=tuple(entry.get("folds", range(len(entry["files"])))),
        familiarity=None
        if familiarity is None
        else ShippedFamiliarity(
            tuple(familiarity["files"]),
            tuple(familiarity["hashes"]),
            tuple(float(s) for s in familiarity["scales"]),
            float(familiarity["threshold"]),
            float(familiarity["false_alarm"]),
        ),
        **_made_of_answers(entry),
    )


def _made_of_answers(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "calibration": _calibration(entry["calibration"]),
        "operating_points": tuple(
            OperatingPoint(**point) for point in entry.get("operating_points", ())
        ),
        "conformal": tuple(
            ConformalSets.from_dict(limits["limits"]) for limits in entry.get("conformal", ())
        ),
    }


def _calibration(content: dict[str, Any] | None) -> PlattCalibration | None:
    return PlattCalibration.from_dict(content) if content else None
