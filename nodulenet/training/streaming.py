"""Scores of findings that have no patch in the store: cut from their scans while they are scored.

755,000 candidates of LUNA16 with a margin would be 0.1 to 0.4 TB. Scan by scan, each opened once,
their patches are cut in a thread that is some pieces ahead of the model, and forgotten once they
are scored. The scores of a scan are kept in a file, so that a killed run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.atomic import atomic_path
from nodulenet.config.patch_spec import PatchSpec
from nodulenet.ct import CTVolume, extract_patch, open_ct
from nodulenet.ct.patch import prefetched
from nodulenet.errors import NoduleNetError, ScanError, UsageError
from nodulenet.findings.table import POINT_COLUMNS
from nodulenet.patches.one_scan import finding_failure, scan_errors, scan_failure, source_state
from nodulenet.patches.source import Irregular
from nodulenet.patches.store import file_name
from nodulenet.patches.values import Values
from nodulenet.progress import Progress, Silent

Score = Callable[[npt.NDArray[np.int16]], npt.NDArray[Any]]
"""Patches int16 (k, *size), orthogonal planes (k, 3, *size), to outputs (k, m)."""

# A piece is what is scored at once; a few of them are all that is in memory.
_PIECE_BYTES = 16 * 2**20
_PIECE_PATCHES = 256
_PIECES_AHEAD = 3


@dataclass(frozen=True)
class Streamed:
    """What was scored.

    Attributes:
        outputs: float64 (findings, m), NaN in the rows of what failed; m is 1 where nothing was
            scored at all.
        failures: ``{"what", "error", "cause"}`` of each scan that cannot be read and each point
            outside its scan, as of a preparation.
        made, reused: scans scored now, and scans whose scores were there.
    """

    outputs: npt.NDArray[np.float64]
    failures: list[dict[str, str]]
    made: int
    reused: int


def stream_scores(
    findings: pd.DataFrame,
    scans: dict[str, Path],
    spec: PatchSpec,
    values: Values,
    score: Score,
    *,
    folder: Path,
    identity: str,
    progress: Progress | None = None,
    irregular: Irregular = "refuse",
) -> Streamed:
    """Score findings straight from their scans.

    A patch is bit for bit the middle, without margin, of the one that the store would hold.

    Args:
        findings: ``finding_id, scan_id, x_lps_mm, y_lps_mm, z_lps_mm``.
        scans: path of each scan by ``scan_id``; one that is absent is a failure.
        spec: of the patches; its margin is not cut where that changes nothing.
        values: of the store, whose scale the value outside a scan is given in.
        score: the model; called in this thread with up to 256 patches of one scan.
        folder: one file a scan is kept here.
        identity: of the model. Scores of another one, of other points or of a scan that was
            replaced since are made anew.
        progress: told of every scan. Defaults to nobody.
        irregular: what becomes of tilted or unevenly spaced slices. Defaults to "refuse".

    Raises:
        UsageError: ``score`` returns something of another shape.
        OSError: a file cannot be written.
    """
    progress = progress or Silent()
    reader = _Reader(spec, values, irregular)
    todo: list[_Scan] = []
    done: dict[str, _Scored] = {}
    every = _scans(findings, scans, [identity, *reader.identity()])
    for scan in every:
        found = _read_scores(folder / scan.file, scan.key)
        if found is None:
            todo.append(scan)
        else:
            done[scan.name] = found
    failures: dict[str, dict[str, str]] = {}
    with (
        progress.task("stream", len(todo), "scans") as task,
        closing(_ahead(reader.pieces(todo), _PIECES_AHEAD)) as pieces,
    ):
        parts: list[npt.NDArray[np.float64]] = []
        for piece in pieces:
            if isinstance(piece, _Piece):
                parts.append(_outputs(score(piece.patches), len(piece.patches)))
                continue
            if piece.error is not None:
                scan = piece.scan
                failures[scan.name] = scan_failure(scan.name, len(scan.rows), piece.error)
            else:
                done[piece.scan.name] = _finished(piece, parts)
                _write_scores(folder / piece.scan.file, piece.scan.key, done[piece.scan.name])
            parts = []
            task.advance(note=piece.scan.name[-12:])
    widths = {s.outputs.shape[1] for s in done.values() if len(s.rows)}
    if len(widths) > 1:
        raise UsageError(f"score: returned {sorted(widths)} columns, expected always as many")
    outputs = np.full((len(findings), *(widths or {1})), np.nan)
    told: list[dict[str, str]] = []
    for scan in every:
        if scan.name in failures:
            told.append(failures[scan.name])
            continue
        scored = done[scan.name]
        outputs[scan.rows[scored.rows]] = scored.outputs
        told += scored.failures
    return Streamed(outputs, told, len(todo) - len(failures), len(every) - len(todo))


@dataclass(frozen=True)
class _Scan:
    """A scan and its findings: their positions in the table, ids and points."""

    name: str
    path: Path | None
    rows: npt.NDArray[np.int64]
    finding_ids: list[str]
    points_lps_mm: npt.NDArray[np.float64]
    key: str

    @property
    def file(self) -> str:
        return f"{file_name(self.name)}.npz"


@dataclass(frozen=True)
class _Piece:
    """Some patches of a scan, in its order."""

    patches: npt.NDArray[np.int16]


@dataclass(frozen=True)
class _End:
    """A scan has no further piece: all are made, or ``error`` ended it."""

    scan: _Scan
    rows: list[int]
    failures: list[dict[str, str]]
    error: NoduleNetError | None = None


@dataclass(frozen=True)
class _Scored:
    """Outputs of those rows of a scan that have a patch, and the failures of the others."""

    rows: npt.NDArray[np.int64]
    outputs: npt.NDArray[np.float64]
    failures: list[dict[str, str]]


class _Reader:
    """Cuts the patches of scans, piece by piece."""

    def __init__(self, spec: PatchSpec, values: Values, irregular: Irregular) -> None:
        self.spec, self.irregular = spec, irregular
        # As in preparation: outside is filled in the values of the store.
        self.outside = float(values.to_stored(spec.outside_hu))
        shape = (3, *spec.size) if spec.orthogonal_planes else spec.size
        bytes_each = math.prod(shape) * np.dtype(np.int16).itemsize
        self.count = max(1, min(_PIECE_PATCHES, _PIECE_BYTES // bytes_each))

    def identity(self) -> list[Any]:
        return [self.spec.preparation_hash(), self.outside, self.irregular]

    def pieces(self, scans: list[_Scan]) -> Iterator[_Piece | _End]:
        """The pieces of each scan and its end, one scan after the other."""
        for scan in scans:
            rows: list[int] = []
            failures: list[dict[str, str]] = []
            try:
                yield from self._scan(scan, rows, failures)
            except NoduleNetError as error:
                yield _End(scan, rows, failures, error)
            else:
                yield _End(scan, rows, failures)

    def _scan(
        self, scan: _Scan, rows: list[int], failures: list[dict[str, str]]
    ) -> Iterator[_Piece]:
        if scan.path is None:
            raise ScanError(
                "no scan of that name in the source; its findings are not scored. Add the scan "
                "and run again"
            )
        with scan_errors(scan.path, out_of_memory="close other programs or take more memory"):
            volume = open_ct(scan.path, irregular=self.irregular)
            cut = _Cutter(self.spec, self.outside, volume)
            volume = prefetched(
                volume,
                scan.points_lps_mm,
                cut.size,
                self.spec.spacing_xyz_mm,
                form=self.spec.form,
            )
            patches: list[npt.NDArray[np.int16]] = []
            for row, point in enumerate(scan.points_lps_mm):
                try:
                    patches.append(cut(volume, point))
                    rows.append(row)
                except ScanError:
                    raise  # voxels that cannot be decoded: no other finding will fare better
                except NoduleNetError as error:
                    failures.append(finding_failure(scan.finding_ids[row], error))
                if len(patches) == self.count:
                    yield _Piece(np.stack(patches))
                    patches = []
            if patches:
                yield _Piece(np.stack(patches))


class _Cutter:
    """Cuts what the middle of a stored patch would be, from one scan.

    Samples that lie along the scan's own axes are interpolated each for itself, so a patch without
    margin has the same bits. Elsewhere the window that is read has a share in them (the spline's
    coefficients, rounded coordinates of oblique scans): then the margin is cut along and dropped.
    """

    def __init__(self, spec: PatchSpec, outside: float, volume: CTVolume) -> None:
        self.spec, self.outside = spec, outside
        along_axes = np.count_nonzero(volume.index_per_mm) == 3
        self.margin = 0 if spec.interpolation == "linear" and along_axes else spec.margin_voxels
        self.size = tuple(n + 2 * self.margin for n in spec.size)

    def __call__(
        self, volume: CTVolume, point_lps_mm: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.int16]:
        spec = self.spec
        patch = extract_patch(
            volume,
            point_lps_mm,
            self.size,
            spec.spacing_xyz_mm,
            form=spec.form,
            interpolation=spec.interpolation,
            outside_hu=self.outside,
        )
        if spec.form == "2.5d":
            patch = np.moveaxis(patch, -1, 0)
        if self.margin:
            axes = range(patch.ndim - len(spec.size), patch.ndim)
            for axis in axes:
                middle = np.arange(self.margin, patch.shape[axis] - self.margin)
                patch = patch.take(middle, axis)
        return Values().to_stored(patch)


def _scans(findings: pd.DataFrame, scans: dict[str, Path], identity: list[Any]) -> list[_Scan]:
    points = findings[list(POINT_COLUMNS)].to_numpy(dtype=np.float64)
    ids = findings["finding_id"].astype(str).to_numpy()
    names = findings["scan_id"].astype(str).reset_index(drop=True)
    result = []
    for name, group in names.groupby(names, sort=True):
        rows = group.index.to_numpy()
        path = scans.get(str(name))
        digest = hashlib.blake2b(digest_size=16)
        mine = [*identity, _state(path), ids[rows].tolist()]
        digest.update(json.dumps(mine, sort_keys=True).encode())
        digest.update(points[rows].tobytes())
        key = digest.hexdigest()
        result.append(_Scan(str(name), path, rows, ids[rows].tolist(), points[rows], key))
    return result


def _state(path: Path | None) -> dict[str, Any]:
    try:
        return source_state(path)
    except OSError:
        return {}  # told when it is opened


def _ahead(pieces: Iterator[_Piece | _End], count: int) -> Generator[_Piece | _End, None, None]:
    """The pieces in their order, made by a thread that is so many ahead."""
    with ThreadPoolExecutor(1, thread_name_prefix="cut") as pool:
        waiting = deque(pool.submit(next, pieces, None) for _ in range(count))
        try:
            while (piece := waiting.popleft().result()) is not None:
                waiting.append(pool.submit(next, pieces, None))
                yield piece
        finally:
            for future in waiting:
                future.cancel()


def _outputs(found: Any, count: int) -> npt.NDArray[np.float64]:
    outputs = np.asarray(found, dtype=np.float64)
    if outputs.ndim != 2 or len(outputs) != count:
        raise UsageError(
            f"score: returned shape {outputs.shape} for {count} patches, expected ({count}, m)"
        )
    return outputs


def _finished(end: _End, parts: list[npt.NDArray[np.float64]]) -> _Scored:
    outputs = np.concatenate(parts) if parts else np.empty((0, 1))
    return _Scored(np.array(end.rows, dtype=np.int64), outputs, end.failures)


def _write_scores(file: Path, key: str, scored: _Scored) -> None:
    with atomic_path(file) as temporary:
        np.savez(
            temporary,
            identity=np.array(key),
            rows=scored.rows,
            outputs=scored.outputs,
            failures=np.array(json.dumps(scored.failures)),
        )


def _read_scores(file: Path, key: str) -> _Scored | None:
    """The scores in a file; None where it is absent, damaged or of another identity."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as found:
            if str(found["identity"]) != key:
                return None
            return _Scored(found["rows"], found["outputs"], json.loads(str(found["failures"])))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
