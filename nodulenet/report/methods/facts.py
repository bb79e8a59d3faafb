"""What the methods text is written from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nodulenet.config.schema import Config


@dataclass(frozen=True, kw_only=True)
class MethodsFacts:
    """What ``methods.md`` is written from, and nothing else.

    Attributes:
        config: The resolved configuration.
        metrics: Of :func:`nodulenet.evaluation.summary.summarize`.
        manifest: ``manifest.json`` of the run, or ``validation.json``: ``versions, nodulenet,
            command, stages, failures, notes``.
        audit: Checks of the leakage audit, ``{"check", "ok", "found", ...}``.
        units: ``unit.json`` of every trained model.
        parts: Who is in which part of each fold, of :mod:`nodulenet.report.parts`.
        scorings: How often held-out findings were scored, of the same; None where unknown.
        validation: Facts of :class:`nodulenet.inference.validated.Validated`; with them the text
            is that of an external validation. Defaults to None.
    """

    config: Config
    metrics: Mapping[str, Any]
    manifest: Mapping[str, Any] = field(default_factory=dict)
    audit: Sequence[Mapping[str, Any]] = ()
    units: Sequence[Mapping[str, Any]] = ()
    parts: Sequence[Mapping[str, Any]] = ()
    scorings: Mapping[str, int] | None = None
    validation: Mapping[str, Any] | None = None

    @property
    def trained(self) -> Mapping[str, Any]:
        """What the manifest records of the training; empty where there was none."""
        return self.manifest.get("stages", {}).get("train", {})
