"""The k-fold loop: every model on every fold from every seed, never twice, here or elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import pandas as pd

from nodulenet.config.schema import Config
from nodulenet.cpus import usable_cpus
from nodulenet.errors import FoldsError, RunError
from nodulenet.patches.audit import Audit, audit_folds
from nodulenet.patches.check import check_config
from nodulenet.patches.folds import Folds
from nodulenet.patches.prepare import store_folder
from nodulenet.patches.source import load_source
from nodulenet.patches.store import PatchStore
from nodulenet.patches.values import Values
from nodulenet.patches.workers import Cluster, Processes, WorkerDiedError, Workers
from nodulenet.progress import Progress, Silent
from nodulenet.training.comparison import check_beside
from nodulenet.training.data import TrainingData, training_data
from nodulenet.training.disk import disk_bytes, refuse_full_disk
from nodulenet.training.exact_pose import check_poses
from nodulenet.training.gather import gather
from nodulenet.training.initial import weights_hash
from nodulenet.training.run import Run, Unit
from nodulenet.training.selection import check_workers, units_of
from nodulenet.training.unit import Job, note_failure, train_unit

# What a worker process imports once; the backend it must start itself.
_WORKER_MODULES = ("nodulenet.training.unit", "pandas", "pyarrow.parquet")


@dataclass(frozen=True)
class Trained:
    """A finished training: the run, what was trained now, what was there, what failed."""

    run: Run
    values: Values
    predictions: pd.DataFrame
    folds: Folds
    audit: Audit
    failures: list[dict[str, str]]
    made: int
    reused: int


def train(
    config: Config,
    *,
    folds: Sequence[int] | None = None,
    models: Sequence[str] | None = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train every configured model on every fold from every seed and write the run directory.

    Units that are finished are not trained again, one that was stopped goes on after its last
    finished epoch, and one that fails is listed while the rest go on.

    Args:
        config: the configuration.
        folds: only these outer folds. Defaults to all.
        models: only these models, by the names that tables use. Defaults to all.
        jobs: processes that train at a time, each with ``train.threads`` threads. Defaults to
            this process alone.
        scheduler: address of a Dask scheduler (or its scheduler file) whose workers are to train;
            where they have the resource ``GPU``, each unit takes one. Defaults to this machine.
        progress: told of every epoch. Defaults to nobody.

    Raises:
        StoreError: the store is not prepared.
        FoldsError: folds cannot be made, or patients would be on two sides.
        UsageError: an unknown fold or model, or workers that are not to be had.
        RunError: the directory belongs to another configuration, or not one unit ended well.
        OSError: the disk is full.
    """
    progress = progress or Silent()
    check_config(config)
    workers = _workers(config, jobs, scheduler, progress)
    source = load_source(config)
    store = PatchStore(store_folder(config, source))
    run = Run.of(config)
    data = training_data(config, source, store, run)
    chosen = units_of(config, data.folds, folds, models)
    every = units_of(config, data.folds)
    check_poses(config)
    check_beside(config, data.findings, data.folds)
    # Folds that are read back from their file say no more how they were made.
    stages = run.manifest().get("stages", {}) if run.has_results() else {}
    earlier = stages.get("train", {}).get("fold_notes", [])
    fold_notes = list(dict.fromkeys([*earlier, *data.folds.notes]))
    notes = [*source.findings.notes, *fold_notes, *data.targets.notes]
    for note in notes:
        progress.say(f"note: {note}")
    audit = _audited(config, data, store, progress)
    run.begin(data.folds, data.findings.drop(columns=["content_hash", "position"]))
    run.copy_reference(source.findings.reference)
    run.record("prepare", {"store": store.path.name, "failures": store.failures()})
    data_hash = data.hash()
    data.save(run.path, data_hash)
    identities = {unit: _identity(config, unit, data_hash) for unit in every}
    # Of all of them, so that one that does not fit is told before hours of work on the others.
    there = {unit for unit in every if run.finished(unit, identities[unit])}
    run.log_forgotten_scorings(there, identities)
    todo = [u for u in chosen if u not in there]
    refuse_full_disk(run.path, disk_bytes(config, todo, jobs or 1))
    job = Job(run.path.absolute(), store.path.absolute(), config, identities, data_hash)
    failures: list[dict[str, str]] = []
    with (
        progress.watching(run.path, chosen, config.train.epochs),
        closing(_outcomes(workers, job, todo)) as outcomes,
    ):
        for ended in outcomes:
            if ended.error is None:
                run.log_outer_scoring(ended.unit, identities[ended.unit])
            else:
                failures.append({"what": f"unit {ended.unit}", "error": ended.error})
    # Also units of an earlier call with other --folds or --models.
    finished = [u for u in every if run.finished(u, identities[u])]
    if not finished:
        run.record("train", {"failures": failures})
        first = failures[0]["error"] if failures else "no unit was asked for"
        raise RunError(f"{run.path}: not one model was trained; first: {first}")
    gathered = gather(run, config, data, store, finished, source, progress)
    failures += gathered.failures
    run.record(
        "train",
        {
            "store": store.path.name,
            "source": store.source,
            "data_hash": data_hash,
            "audit": list(audit.checks),
            "notes": list(dict.fromkeys([*notes, *gathered.notes])),
            "fold_notes": fold_notes,
            "units": len(finished),
            "units_left": len(every) - len(finished),
            "not_available": gathered.not_available,
            "failures": failures,
        },
    )
    made = len(todo) - sum(f["what"].startswith("unit ") for f in failures)
    return Trained(
        run,
        store.values,
        gathered.predictions,
        data.folds,
        audit,
        failures,
        made,
        len(finished) - made,
    )


def _workers(
    config: Config, jobs: int | None, scheduler: str | None, progress: Progress
) -> Workers | None:
    """Who trains; None for this process. Refused before anything is read."""
    check_workers(config, jobs, scheduler)
    if scheduler is not None:
        return Cluster(scheduler, note=progress.say, resource="GPU")
    if jobs is None or jobs == 1:
        return None
    processes = Processes(jobs, preload=_WORKER_MODULES)
    threads = config.train.threads or 1
    if jobs * threads > usable_cpus():
        progress.say(
            f"warning: {jobs} jobs of {threads} threads on {usable_cpus()} CPUs will be slower "
            f"than fewer jobs"
        )
    return processes


def _outcomes(workers: Workers | None, job: Job, units: Sequence[Unit]):  # type: ignore[no-untyped-def]
    """What became of each unit, as they end."""
    work = partial(train_unit, job)
    if workers is None:
        for unit in units:
            yield work(unit)
        return
    with closing(workers.map(work, units)) as outcomes:
        for outcome in outcomes:
            if outcome.result is not None:
                yield outcome.result
            else:
                # Its worker died, or could not be told of it.
                folder = job.run / outcome.unit.folder
                yield note_failure(folder, outcome.unit, _worker_error(outcome.error, job.config))


def _worker_error(error: Exception | None, config: Config) -> str:
    if isinstance(error, WorkerDiedError):
        return (
            f"its process died (killed, or out of memory) with batches of "
            f"{config.train.batch_size}; set a smaller train.batch_size or fewer --jobs; it goes "
            f"on after its last finished epoch"
        )
    return str(error)


def _audited(config: Config, data: TrainingData, store: PatchStore, progress: Progress) -> Audit:
    shared_allowed = config.folds.allow_shared_patients
    # What is not stored is only ever scored, and never of a patient who is trained on.
    stored = data.findings[data.stored]
    audit = audit_folds(
        stored,
        data.folds.only(set(stored["finding_id"])),
        allow_shared_patients=shared_allowed,
        store=store,
        progress=progress,
    )
    if not audit.patients_ok and not shared_allowed:
        found = next(c["found"] for c in audit.leaks if c["check"] == "patients")
        raise FoldsError(
            f"{found}; patients on two sides inflate every figure. Correct the folds, or set "
            f"folds.allow_shared_patients=true and the report will say so in red"
        )
    for check in audit.checks:
        if not check["ok"]:
            progress.say(f"warning: {check['found']}")
    return audit


def _identity(config: Config, unit: Unit, data: str) -> str:
    """Of a unit: equal exactly when training it again would give the same model."""
    model = next(m for m in config.models if m.key == unit.model)
    settings = [
        config.seed,
        unit.seed,
        data,
        config.patch.model_dump(mode="json"),
        config.train.model_dump(mode="json", exclude={"seeds"}),
        model.model_dump(mode="json"),
        config.target.model_dump(mode="json") if config.target else None,
        config.folds.inner_rotation,
        config.folds.allow_shared_patients,
        weights_hash(model.init_from) if model.init_from else None,
    ]
    text = json.dumps(settings, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
