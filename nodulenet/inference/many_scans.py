"""Answers for many scans: read in parallel, asked together, written a folder a scan, continued.

The unit is a scan. Its folder has ``done.json`` once it is whole, so what was finished is not
asked again; one scan that fails is listed, the rest go on.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet import __version__
from nodulenet.atomic import atomic_path, write_json
from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import PointsSource
from nodulenet.cpus import usable_cpus
from nodulenet.ct import CTVolume, open_ct
from nodulenet.errors import BundleError, DataError, NoduleNetError, UsageError
from nodulenet.findings.own_scans import read_own_scans
from nodulenet.findings.table import POINT_COLUMNS, Findings
from nodulenet.inference.answer import answer_cuts
from nodulenet.inference.answering import Answering, chosen_answering
from nodulenet.inference.answers import Answers
from nodulenet.inference.bundle import Bundle
from nodulenet.inference.bundled_model import BundledModel
from nodulenet.inference.classify import refuse_plain_intensities
from nodulenet.inference.cutting import CutScan, cut_scan
from nodulenet.inference.outputs.formats import OutputFormat, refuse_unfit, write_outputs
from nodulenet.inference.outputs.sources import Saliency, Sources
from nodulenet.patches.one_scan import failure, scan_errors, scan_failure, source_state
from nodulenet.patches.workers import InPlace, Processes, Workers, asked_workers
from nodulenet.privacy import scan_places, without_places
from nodulenet.progress import Progress, Silent

DONE, TABLE, FAILURES, FACTS = "done.json", "answers.csv", "failures.csv", "classify.json"
SCANS = Path("scans")
BATCH = 64
"""Patches that are asked about together, at least, where there are so many."""
# Below this many scans, starting processes takes longer than reading them.
_PROCESSES_PAY = 8
_WORKER_MODULES = (
    "nodulenet.inference.many_scans",
    *(f"nodulenet.ct.{name}" for name in ("dicom", "metaimage", "nifti", "nrrd")),
)
_UNFIT = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True)
class ManyAnswers:
    """What became of many scans.

    Attributes:
        table: the answers of all of them.
        failures: ``{"what", "error", "cause"}`` of scans and findings without one.
        warnings: of scans and models, each once.
        made, reused: scans that were answered now, and before.
    """

    table: pd.DataFrame
    failures: list[dict[str, str]]
    warnings: list[str]
    made: int
    reused: int


@dataclass(frozen=True)
class _Unit:
    """One scan and its points, as a worker is told of it."""

    name: str
    path: Path
    series_uid: str | None
    irregular: Literal["refuse", "resample"]
    finding_ids: tuple[str, ...]
    points_lps_mm: npt.NDArray[np.float64]
    known: pd.DataFrame


def classify_scans(
    source: PointsSource,
    bundle: Bundle | str | Path,
    out: str | Path,
    *,
    formats: Sequence[OutputFormat] = (),
    saliency: bool = False,
    model: str | None = None,
    answering: Answering | None = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> ManyAnswers:
    """Answers for the points of many scans, written as they come.

    Args:
        source: scans (a folder, or a table of :mod:`nodulenet.findings.scan_table`) and points, as
            training reads them.
        bundle: a run or bundle, or an opened one.
        out: folder of the results; what is there of the same question is kept.
        formats: what to write of each scan besides the table. Defaults to nothing.
        saliency: draw occlusion maps where a format has pictures. Defaults to False.
        model: which of the bundle's models. Defaults to the first.
        answering: which threshold, miss rate and prevalence. Defaults to the bundle's own.
        jobs: processes that read scans. Defaults to one a usable CPU, or to this one for few scans.
        scheduler: address of a Dask scheduler whose workers read scans instead; they must see them
            under the same absolute paths. Defaults to this machine.
        progress: told of every scan. Defaults to nobody.

    Raises:
        DataError: the scans or points cannot be read at all, or not one scan could be answered.
        UsageError: a format that cannot be written, or ``jobs`` and ``scheduler`` both.
        OSError: the disk is full.
    """
    progress = progress or Silent()
    asked = asked_workers("classify", jobs, scheduler, preload=_WORKER_MODULES, note=progress.say)
    opened = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
    chosen = opened.model(model)
    how = chosen_answering(opened, chosen, answering or Answering())
    refuse_plain_intensities(opened)
    refuse_unfit(formats, points=True, scan=True, dicom=True)
    findings = read_own_scans(source)
    for note in findings.notes:
        progress.say(f"note: {note}")
    folder = Path(out)
    found, failures = _units(findings, source)
    # Relative paths would be taken from wherever a worker was started.
    units = [replace(unit, path=unit.path.absolute()) for unit in found]
    failures = [_without_paths(f, source) for f in (*findings.failures, *failures)]
    question = _question(opened, chosen, answering or Answering(), formats, saliency=saliency)
    todo = [u for u in units if not _is_done(folder, u, question)]
    workers = asked or _chosen_workers(len(todo))
    work = partial(_cut, spec=opened.spec, model=chosen)
    with (
        progress.task("classify", len(todo), "scans") as task,
        closing(workers.map(work, todo)) as outcomes,
    ):
        for batch in _batches(outcomes, failures, source, task):
            for unit, one in _answered(batch, partial(answer_cuts, opened, chosen, how)):
                if isinstance(one, NoduleNetError):
                    failures.append(_scan_failure(unit, one, source))
                    continue
                draws = partial(_maps, one, bundle=opened) if saliency else None
                unwritten = _write(folder, unit, one, formats, question, draws)
                failures += [_without_paths(f, source, unit) for f in unwritten]
    results = [r for u in units if (r := _read(folder, u, question)) is not None]
    known = {f["what"] for f in failures}
    for result in results:
        failures += [f for f in result.failures if f["what"] not in known]
    table = pd.concat([r.table for r in results], ignore_index=True) if results else pd.DataFrame()
    with atomic_path(folder / TABLE) as temporary:
        table.to_csv(temporary, index=False)
    with atomic_path(folder / FAILURES) as temporary:
        pd.DataFrame(failures, columns=["what", "error"]).to_csv(temporary, index=False)
    if not results and failures:
        raise DataError(
            f"{folder / FAILURES}: not one scan was answered; first: {failures[0]['error']}"
        )
    warnings = list(dict.fromkeys(w for r in results for w in r.warnings))
    write_json(
        folder / FACTS,
        {
            "meaning": opened.meaning,
            "model": chosen.key,
            "bundle": {"name": opened.name, "hash": opened.hash},
            "prevalence": how.prevalence or opened.prevalence,
            "scans": len(results),
            "findings": len(table),
            "failures": len(failures),
            "nodulenet": __version__,
            "use": "research use only",
        },
    )
    made = len(results) - (len(units) - len(todo))
    return ManyAnswers(table, failures, warnings, made, len(units) - len(todo))


def _units(findings: Findings, source: PointsSource) -> tuple[list[_Unit], list[dict[str, str]]]:
    """Scans with points, and the failures of those that are not there."""
    units, failures = [], []
    for name, rows in findings.table.groupby("scan_id", sort=True):
        scan = str(name)
        path = findings.scans.get(scan)
        if path is None:
            failures.append(
                scan_failure(scan, len(rows), f"no scan of that name in {source.scans}")
            )
            continue
        units.append(
            _Unit(
                scan,
                path,
                findings.series.get(scan),
                source.irregular,
                tuple(rows["finding_id"].astype(str)),
                rows[list(POINT_COLUMNS)].to_numpy(dtype=np.float64),
                rows.drop(columns=["finding_id", *POINT_COLUMNS, "label"]).reset_index(drop=True),
            )
        )
    return units, failures


def _answered(
    batch: Sequence[tuple[_Unit, CutScan]],
    ask: Callable[[Sequence[CutScan]], list[Answers]],
) -> Iterator[tuple[_Unit, Answers | NoduleNetError]]:
    """The answers of a batch; where it has none, each scan's own, or why it has none."""
    try:
        yield from zip([unit for unit, _ in batch], ask([cut for _, cut in batch]), strict=True)
    except (UsageError, BundleError):
        raise  # no scan would be answered
    except Exception:  # noqa: BLE001
        # One scan's findings, or a defect of ours that they meet, must not end the others.
        for unit, cut in batch:
            try:
                with scan_errors(unit.path, out_of_memory="classify fewer findings at a time"):
                    (one,) = ask([cut])
            except NoduleNetError as error:
                yield unit, error
            else:
                yield unit, one


def _scan_failure(unit: _Unit, error: object, source: PointsSource) -> dict[str, str]:
    return _without_paths(scan_failure(unit.name, len(unit.finding_ids), error), source, unit)


def _without_paths(
    failure: dict[str, str], source: PointsSource, unit: _Unit | None = None
) -> dict[str, str]:
    """A failure as it is listed in files to be shared: folders are named after patients."""
    places = {source.scans: "the scans", source.points: "the points"}
    places |= {place.absolute(): name for place, name in places.items()}
    if unit is not None:
        places |= scan_places(unit.path)
    return {key: without_places(text, places) for key, text in failure.items()}


def _cut(unit: _Unit, *, spec: PatchSpec, model: BundledModel) -> CutScan:
    """The patches of a scan; runs wherever the worker is, and loads no network."""
    with scan_errors(unit.path, out_of_memory="classify again with fewer --jobs"):
        volume = open_ct(unit.path, series_uid=unit.series_uid, irregular=unit.irregular)
        return cut_scan(volume, unit.points_lps_mm, unit.finding_ids, unit.known, spec, model)


def _batches(
    outcomes: Iterable[Any], failures: list[dict[str, str]], source: PointsSource, task: Any
) -> Iterator[list[tuple[_Unit, CutScan]]]:
    """Cut scans, so many together that a network is asked about a whole batch."""
    batch: list[tuple[_Unit, CutScan]] = []
    for outcome in outcomes:
        unit = outcome.unit
        if outcome.result is None:
            failures.append(_scan_failure(unit, outcome.error, source))
        else:
            batch.append((unit, outcome.result))
        if sum(len(cut.stored) for _, cut in batch) >= BATCH:
            yield batch
            batch = []
        task.advance(note=unit.name[-12:])
    if batch:
        yield batch


def _chosen_workers(scans: int) -> Workers:
    """This process, or processes where there are so many scans that they pay."""
    jobs = usable_cpus() if scans >= _PROCESSES_PAY else 1
    return InPlace() if jobs == 1 else Processes(jobs, preload=_WORKER_MODULES)


def _maps(answers: Answers, volume: CTVolume, *, bundle: Bundle) -> Mapping[str, Saliency]:
    # Workers, which load this module, draw nothing.
    from nodulenet.inference.explain.scan_maps import scan_maps

    return scan_maps(answers, volume, bundle)


def _write(
    folder: Path,
    unit: _Unit,
    answers: Answers,
    formats: Sequence[OutputFormat],
    question: str,
    draws: Callable[[CTVolume], Mapping[str, Saliency]] | None,
) -> list[dict[str, str]]:
    """The folder of one scan; ``done.json`` is last. What cannot be written is returned."""
    place = folder / SCANS / folder_name(unit.name)
    # What is there may answer another question; a run that is killed here must not leave it valid.
    (place / DONE).unlink(missing_ok=True)
    failures = [failure(f["what"], f["error"], cause=f["error"]) for f in answers.failures]
    # Called as the points call it; the series is in a column of its own.
    series = answers.table["scan_id"]
    table = answers.table.assign(scan_id=unit.name)
    table.insert(2, "series_uid", series)
    with atomic_path(place / TABLE) as temporary:
        table.to_csv(temporary, index=False)
    unwritten: list[dict[str, str]] = []
    if formats:
        try:
            volume = open_ct(unit.path, series_uid=unit.series_uid, irregular=unit.irregular)
            dicom = unit.path if volume.format == "dicom" else None
            fit = [f for f in formats if dicom is not None or "dicom" not in f.needs]
            maps = draws(volume) if draws is not None and any(f.draws for f in fit) else {}
            sources = Sources(volume=volume, dicom=dicom, saliency=maps)
            write_outputs(answers, place, fit, sources)
            if len(fit) < len(formats):
                left = ", ".join(f.name for f in formats if f not in fit)
                unwritten = [
                    scan_failure(unit.name, len(answers.table), f"is no DICOM series, so no {left}")
                ]
        except NoduleNetError as error:
            unwritten = [scan_failure(unit.name, len(answers.table), error)]
    asked = _asked(unit, question)
    write_json(
        place / DONE,
        {
            # Where an output is lacking, the answers stay, but the scan is asked again next time.
            "question": None if unwritten else asked,
            "answered": asked,
            "scan": unit.name,
            "failures": failures,
            "warnings": list(answers.warnings),
            # The table in full: ids as they are, numbers to the last digit.
            "table": json.loads(table.to_json(orient="split", index=False, double_precision=15)),
        },
    )
    return unwritten


@dataclass(frozen=True)
class _Result:
    table: pd.DataFrame
    failures: list[dict[str, str]]
    warnings: list[str]


def _read(folder: Path, unit: _Unit, question: str) -> _Result | None:
    """What stands in a scan's folder, if it answers this question."""
    place = folder / SCANS / folder_name(unit.name)
    done = _done(place)
    if done.get("answered") != _asked(unit, question):
        return None
    table = pd.DataFrame(done["table"]["data"], columns=done["table"]["columns"])
    return _Result(table, list(done["failures"]), list(done["warnings"]))


def _is_done(folder: Path, unit: _Unit, question: str) -> bool:
    place = folder / SCANS / folder_name(unit.name)
    return _done(place).get("question") == _asked(unit, question) and (place / TABLE).is_file()


def _done(place: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((place / DONE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _question(
    bundle: Bundle,
    model: BundledModel,
    answering: Answering,
    formats: Sequence[OutputFormat],
    *,
    saliency: bool,
) -> str:
    """What is asked of every scan."""
    names = [f.name for f in formats]
    computed = [*bundle.asked_engine, bundle.hash, model.key]
    return json.dumps([__version__, *computed, repr(answering), names, saliency])


def _asked(unit: _Unit, question: str) -> str:
    """What was asked of this scan, the scan's files and its points included."""
    digest = hashlib.blake2b(question.encode(), digest_size=16)
    digest.update(json.dumps([str(unit.path), unit.series_uid, unit.irregular]).encode())
    digest.update(json.dumps(source_state(unit.path)).encode())
    digest.update(unit.points_lps_mm.tobytes())
    digest.update(repr(unit.finding_ids).encode())
    digest.update(unit.known.to_csv(index=False).encode())
    return digest.hexdigest()


def folder_name(scan: str) -> str:
    """The name of a scan as the name of its folder; a hash tells apart what would be alike."""
    plain = _UNFIT.sub("_", scan)
    if plain == scan and scan.strip("."):
        return scan
    return f"{plain}-{hashlib.blake2b(scan.encode(), digest_size=4).hexdigest()}"
