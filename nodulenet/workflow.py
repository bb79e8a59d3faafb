"""The whole way in one call: prepare, audit, train, evaluate. Each step goes on where it stopped.

Called again, nothing is done twice: scans that are read, units that are trained, an audit of the
same patches and an evaluation of the same predictions are kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodulenet import __version__
from nodulenet.config.schema import Config, Luna16Source
from nodulenet.progress import Progress, Silent

if TYPE_CHECKING:
    from nodulenet.patches.prepare import Prepared
    from nodulenet.patches.store import PatchStore
    from nodulenet.report.publish import Report
    from nodulenet.training.kfold import Trained
    from nodulenet.training.run import Run

STORE_AUDIT = "store_audit.json"
STORE_PAIRS = "store_audit_pairs.csv"
# Sources whose patches are cut already: a cluster has nothing to read there.
_CUT_ALREADY = ("patches", "medmnist")


@dataclass(frozen=True)
class WorkflowResult:
    """What a workflow leaves.

    Attributes:
        run: the run directory.
        report: the written report with its metrics.
        failures: of all steps, ``{"what", "error"}`` each.
        made, reused: units trained now, and units that were there.
    """

    run: Path
    report: Report
    failures: list[dict[str, str]]
    made: int
    reused: int


def run(
    config: Config,
    *,
    folds: Sequence[int] | None = None,
    models: Sequence[str] | None = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> WorkflowResult:
    """Prepare, audit, train and evaluate a configuration, or complete what is there of it.

    Scans that cannot be read and units that fail are listed in the result; the others go on.

    Args:
        config: the configuration; a phantom that it asks for is generated first.
        folds, models: train only these. Defaults to all.
        jobs: processes for preparation and training. Defaults to what each of them takes for best.
        scheduler: address of a Dask scheduler (or its file) that works instead.
        progress: told of everything. Defaults to nobody.

    Raises:
        UsageError: a fold or model that is not there, or an impossible option.
        ConfigError: the configuration does not fit itself.
        DataError: nothing could be completed: no patch, no fold, no unit.
    """
    from nodulenet.patches.check import check_config
    from nodulenet.training.selection import check_choice, check_workers, chosen_models

    progress = progress or Silent()
    check_config(config)
    check_choice(config, folds, models)
    check_workers(config, jobs, scheduler)
    stages = _Stages(progress, 5 if _on_phantom(config) else 4)
    if _on_phantom(config):
        from nodulenet.phantom.for_config import ensure_phantom

        stages.begin("scans: synthetic ones, in the LUNA16 layout")
        ensure_phantom(config, progress=progress)
    stages.begin("prepare: a patch round every finding")
    prepared = _prepare(config, jobs, scheduler, progress)
    stages.begin("audit: patients, series and patches that would leak")
    audit_once(config, prepared.store, progress)
    count = len(chosen_models(config, models))
    what = f"{count} models on the same folds" if count > 1 else "every fold"
    stages.begin(f"train: {what}, from a fresh start each")
    trained = train_and_bundle(
        config, folds=folds, models=models, jobs=jobs, scheduler=scheduler, progress=progress
    )
    stages.begin("evaluate: what was predicted out of fold, and size alone beside it")
    failures = [*prepared.failures, *trained.failures]
    report = evaluate_once(trained.run, progress)
    return WorkflowResult(trained.run.path, report, failures, trained.made, trained.reused)


def train_and_bundle(
    config: Config,
    *,
    folds: Sequence[int] | None = None,
    models: Sequence[str] | None = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train, and leave the run as a bundle that can be asked.

    Args:
        config, folds, models, jobs, scheduler, progress: as of
            :func:`nodulenet.training.kfold.train`.
    """
    from nodulenet.inference.bundle_content import write_bundle
    from nodulenet.training.kfold import train

    progress = progress or Silent()
    asked = {"folds": folds, "models": models, "jobs": jobs, "scheduler": scheduler}
    options: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    trained = train(config, progress=progress, **options)
    write_bundle(trained.run, trained.predictions, trained.values)
    progress.say(f"{trained.made} models trained now, {trained.reused} before")
    return trained


def audit_once(config: Config, store: PatchStore, progress: Progress) -> list[dict[str, Any]]:
    """The audit of the store, kept in the run directory with the pairs that it found.

    What it finds is told, not refused: only folds make a leak of it, and training audits those.

    Returns:
        its checks.
    """
    from nodulenet.atomic import atomic_path, write_json
    from nodulenet.patches.audit import audit_store

    file = config.run / STORE_AUDIT
    identity = _identity_of_patches(store)
    kept = _read(file)
    if kept.get("patches") == identity and "checks" in kept:
        checks = list(kept["checks"])
    else:
        audit = audit_store(store, progress=progress)
        checks = list(audit.checks)
        with atomic_path(config.run / STORE_PAIRS) as temporary:
            audit.pairs.to_csv(temporary, index=False)
        write_json(file, {"patches": identity, "nodulenet": __version__, "checks": checks})
    found = [check for check in checks if not check["ok"]]
    for check in found:
        progress.say(f"warning: {check['found']}")
    leaks = sum(bool(check["leak"]) for check in found)
    summary = (
        f"{leaks} of {len(checks)} checks found what patients share"
        if leaks
        else (f"{len(checks)} checks: nothing that two patients share")
    )
    progress.say(f"{summary}; {file}")
    return checks


def evaluate_once(run: Run, progress: Progress) -> Report:
    """The report of the run; the one that is there where it would come out the same."""
    from nodulenet.report.publish import Report
    from nodulenet.report.run import report_on_run

    facts = run.manifest().get("stages", {}).get("evaluate", {})
    identity = _identity_of_results(run)
    page, metrics = run.path / "report.html", _read(run.path / "metrics.json")
    failures = len(run.manifest().get("failures", []))
    if facts.get("results") == identity and page.is_file() and metrics:
        progress.say(f"nothing has changed; `nodulenet evaluate {run.path}` writes it anew")
        return Report(page, metrics, list(facts.get("notes", [])), failures)
    report = report_on_run(run)
    facts = run.manifest()["stages"]["evaluate"]
    run.record("evaluate", {**facts, "results": identity, "notes": report.notes})
    return report


class _Stages:
    """Numbered headings."""

    def __init__(self, progress: Progress, count: int) -> None:
        self._progress, self._count, self._number = progress, count, 0

    def begin(self, text: str) -> None:
        self._number += 1
        self._progress.say(f"\n[{self._number}/{self._count}] {text}")


def _on_phantom(config: Config) -> bool:
    return isinstance(config.source, Luna16Source) and config.source.phantom is not None


def _prepare(
    config: Config, jobs: int | None, scheduler: str | None, progress: Progress
) -> Prepared:
    from nodulenet.patches.prepare import prepare

    if config.source.kind in _CUT_ALREADY:
        scheduler = None
    prepared = prepare(config, progress=progress, jobs=jobs, scheduler=scheduler)
    for text in prepared.warnings:
        progress.say(f"warning: {text}")
    what = "pieces" if config.source.kind in _CUT_ALREADY else "scans"
    progress.say(
        f"{len(prepared.store)} patches; {prepared.made} {what} read now, {prepared.reused} before"
    )
    return prepared


def _identity_of_patches(store: PatchStore) -> str:
    """Of all that the audit of a store looks at: who and where, the labels, the contents."""
    from nodulenet.patches.store import INDEX
    from nodulenet.versions import file_hash

    return f"{__version__} {store.path.name} {file_hash(store.path / INDEX)}"


def _identity_of_results(run: Run) -> str:
    """Of all that the report of a run is made of."""
    from nodulenet.versions import file_hash

    manifest = run.manifest()
    stages = {k: v for k, v in manifest.get("stages", {}).items() if k != "evaluate"}
    facts = {
        name: {k: v for k, v in stage.items() if k not in ("ended", "command")}
        for name, stage in stages.items()
    }
    names = ("predictions.csv", "folds.csv", "findings.csv", "outer_scorings.csv")
    files = {n: file_hash(run.path / n) for n in names if (run.path / n).is_file()}
    settings = run.config.model_dump(mode="json", exclude={"run", "store"})
    text = json.dumps([__version__, manifest.get("versions"), facts, files, settings])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _read(file: Path) -> dict[str, Any]:
    """A JSON file of ours; empty where it is not there or damaged."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
