"""PatchStore: patches of findings as int16 with a margin, on disk, memory-mapped.

Layout of a store folder::

    store.json        PatchSpec, value scale, source, format number
    shards/UNIT.npy   int16, (patches, *spec.stored_shape); one file a scan (or piece of an archive)
    journal/UNIT.json which findings lie in the shard, content hashes, what failed
    failures.json     what has no patch, and why
    index.parquet     one row a patch: the finding's columns, shard, shard_row, content_hash

A shard is renamed into place before its journal is, so a unit with a journal is whole, and a
killed run loses at most the units in flight.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.atomic import atomic_path, write_json
from nodulenet.config.patch_spec import PatchSpec
from nodulenet.errors import StoreError
from nodulenet.patches.values import Values

FORMAT = 1
INDEX = "index.parquet"
FAILURES = "failures.json"
# Each open memory map holds a file descriptor; systems allow about 1,000.
_OPEN_SHARDS = 256


@dataclass(frozen=True)
class UnitResult:
    """What became of one unit (a scan, or a piece of an archive).

    Attributes:
        unit: its name.
        finding_ids: the findings whose patches were made, in the order of the shard's rows.
        hashes: content hash of each patch.
        failures: ``{"what", "error"}`` of each finding that has no patch.
        warnings: what was tolerated.
    """

    unit: str
    finding_ids: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()
    failures: tuple[dict[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    source_state: dict[str, Any] = field(default_factory=dict)


class StoreWriter:
    """Fills a store unit by unit; a unit that is there already is not made again."""

    def __init__(self, path: Path, spec: PatchSpec, values: Values, source: dict[str, Any]) -> None:
        self.path = path
        self._head = {
            "format": FORMAT,
            "spec": spec.model_dump(mode="json", exclude={"windows"}),
            "values": values.to_dict(),
            "source": source,
        }
        head_file = path / "store.json"
        if head_file.is_file():
            found = _read_head(path)
            different = [k for k, v in self._head.items() if found.get(k) != v]
            if different:
                raise StoreError(
                    f"{head_file}: belongs to another {different[0]}; remove the folder or choose "
                    f"another store"
                )
        else:
            write_json(head_file, self._head)

    def finished(self, unit: str, source_state: dict[str, Any]) -> UnitResult | None:
        """The journal of a unit that is whole and whose source has not changed since."""
        file = self._journal(unit)
        if not file.is_file():
            return None
        try:
            entry = json.loads(file.read_text(encoding="utf-8"))
            result = UnitResult(**{k: _as_tuple(v) for k, v in entry.items()})
        except (ValueError, TypeError):
            return None
        whole = not result.finding_ids or shard_path(self.path, unit).is_file()
        return result if whole and result.source_state == source_state else None

    def write(self, result: UnitResult, patches: npt.NDArray[np.int16]) -> None:
        """Store the patches of a unit, then its journal."""
        # The index tells rows of shards: it must not outlive the shards that it was made for.
        (self.path / INDEX).unlink(missing_ok=True)
        if len(patches):
            with (
                atomic_path(shard_path(self.path, result.unit)) as temporary,
                temporary.open("wb") as file,
            ):
                np.save(file, patches, allow_pickle=False)
        write_json(self._journal(result.unit), {**vars(result)})

    def finish(
        self,
        findings: pd.DataFrame,
        results: Sequence[UnitResult],
        failures: Sequence[dict[str, str]] = (),
    ) -> PatchStore:
        """Write the failures and the index over all units, and open the store.

        Raises:
            StoreError: no unit has a patch.
        """
        write_json(self.path / FAILURES, list(failures))
        rows = [
            {"finding_id": f, "shard": r.unit, "shard_row": i, "content_hash": h}
            for r in results
            for i, (f, h) in enumerate(zip(r.finding_ids, r.hashes, strict=True))
        ]
        if not rows:
            first = f"{failures[0]['what']}: {failures[0]['error']}" if failures else "no findings"
            raise StoreError(
                f"{self.path}: not one patch could be made; {len(failures)} failures in "
                f"{FAILURES}, the first: {first}"
            )
        places = pd.DataFrame(rows)
        # A source's own column of such a name would collide.
        own = findings.drop(columns=[c for c in places.columns[1:] if c in findings.columns])
        index = own.merge(places, on="finding_id", validate="one_to_one")
        with atomic_path(self.path / INDEX) as temporary:
            index.to_parquet(temporary, index=False)
        return PatchStore(self.path)

    def _journal(self, unit: str) -> Path:
        return self.path / "journal" / f"{_file_name(unit)}.json"


class PatchStore:
    """A finished store, opened for reading.

    Attributes:
        path: its folder.
        spec: the stored geometry (its windows are defaults: windows apply at load).
        values: the scale between stored int16 and source values.
        index: one row a patch, in the order of the findings.
        source: description of where the patches come from.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        head = _read_head(self.path)
        try:
            self.spec = PatchSpec.model_validate(head["spec"])
            self.values = Values(**head["values"])
            self.source: dict[str, Any] = head["source"]
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"{self.path / 'store.json'}: is not whole ({type(error).__name__}); remove the "
                f"store and prepare again"
            ) from error
        index_file = self.path / INDEX
        if not index_file.is_file():
            raise StoreError(
                f"{self.path}: has no index.parquet, so preparation has not finished; run "
                f"`nodulenet prepare` again, which goes on where it stopped"
            )
        try:
            self.index = pd.read_parquet(index_file)
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{index_file}: cannot be read ({_one_line(error)}); remove it and run `nodulenet "
                f"prepare` again"
            ) from error
        self._shards = self.index["shard"].to_numpy()
        self._rows = self.index["shard_row"].to_numpy()
        self._open = lru_cache(maxsize=_OPEN_SHARDS)(self._open_shard)

    def __len__(self) -> int:
        return len(self.index)

    def failures(self) -> list[dict[str, str]]:
        """``{"what", "error"}`` of what has no patch."""
        file = self.path / FAILURES
        return list(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else []

    def patches(self, positions: npt.ArrayLike) -> npt.NDArray[np.int16]:
        """Stored patches of index positions: int16, (n, *spec.stored_shape)."""
        wanted = np.atleast_1d(np.asarray(positions, dtype=np.int64))
        result = np.empty((len(wanted), *self.spec.stored_shape), dtype=np.int16)
        for i, position in enumerate(wanted):
            result[i] = self._open(str(self._shards[position]))[self._rows[position]]
        return result

    def _open_shard(self, unit: str) -> npt.NDArray[np.int16]:
        file = shard_path(self.path, unit)
        try:
            shard = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise StoreError(
                f"{file}: shard cannot be read ({error}); remove it and run `nodulenet prepare` "
                f"again"
            ) from error
        if shard.dtype != np.int16 or shard.shape[1:] != self.spec.stored_shape:
            raise StoreError(
                f"{file}: holds {shard.dtype} patches of {shard.shape[1:]}, expected int16 of "
                f"{self.spec.stored_shape}; remove it and run `nodulenet prepare` again"
            )
        return shard


def content_hash(patch: npt.NDArray[np.int16]) -> str:
    """Hash of a stored patch's voxels; equal patches have equal hashes."""
    return hashlib.blake2b(np.ascontiguousarray(patch).tobytes(), digest_size=16).hexdigest()


def shard_path(store: Path, unit: str) -> Path:
    """The file with the patches of a unit."""
    return store / "shards" / f"{_file_name(unit)}.npy"


def _file_name(unit: str) -> str:
    # Units are named by people (series UIDs, folders): the hash keeps the name short and safe.
    readable = "".join(c if c.isalnum() or c in "-." else "_" for c in unit)[-24:].lstrip(".")
    return f"{readable}-{hashlib.blake2b(unit.encode(), digest_size=6).hexdigest()}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _read_head(path: Path) -> dict[str, Any]:
    file = path / "store.json"
    if not file.is_file():
        raise StoreError(
            f"{path}: is no patch store (it has no store.json); make one with `nodulenet prepare`"
        )
    try:
        head = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(f"{file}: is damaged ({error}); remove the store and prepare again") from (
            error
        )
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise StoreError(
            f"{file}: has format {head.get('format') if isinstance(head, dict) else head!r}, this "
            f"version reads format {FORMAT}; prepare the store again"
        )
    return head
