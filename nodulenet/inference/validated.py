"""What a validation on other data gives; plain data, so that reports need no framework for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from nodulenet.config.schema import Config
from nodulenet.patches.store import PatchStore


@dataclass(frozen=True, kw_only=True)
class Validated:
    """Predictions of a bundle for data that it was not trained on, and how they came about.

    Attributes:
        config: As used: source, label rule, seed and ``evaluate`` of the data's configuration;
            patch and models of the bundle.
        predictions: One row a finding and model: ``finding_id, patient_id, fold`` (0), ``model,
            split`` (``inner``: for recalibration, ``outer``: evaluated), ``label, probability``
            (calibrated as the bundle says), ``probability_raw`` (mean of the fold models),
            ``fold_low, fold_high`` (their range, calibrated), and where known ``scan_id``, the
            point and ``diameter_mm``.
        findings: All columns of the findings that are predicted.
        store: Their patches.
        facts: JSON-ready: ``bundle`` (what answered), ``counts``, ``patients`` and ``images``
            (whether any was in the training), ``recalibration`` (None, or share, seed and counts
            of both parts), ``jitter`` (None, or what moving the centres does), ``source``.
        notes: What the reader of a report has to know.
        warnings: What was tolerated in scans.
        failures: ``{"what", "error", "cause"}`` of every scan or finding without a patch.
        reference: Tables for a FROC, where every mark of every listed scan is evaluated.
    """

    config: Config
    predictions: pd.DataFrame
    findings: pd.DataFrame
    store: PatchStore
    facts: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    failures: tuple[dict[str, str], ...] = ()
    reference: Mapping[str, Path] = field(default_factory=dict)
