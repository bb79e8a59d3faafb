"""PatchStore: patches of findings as int16 with a margin, on disk, memory-mapped.

Layout of a store folder::

    store.json        PatchSpec, value scale, source, format number
    shards/UNIT.npy   int16, (patches, *spec.stored_shape); one file a scan (or piece of an archive)
    journal/UNIT.json which findings lie in the shard, content hashes, what failed
    failures.json     what has no patch, and why
    index.parquet     one row a patch: the finding's columns, shard, shard_row, content_hash

A shard is renamed into place before its journal is, so a unit with a journal is whole, and a
killed run loses at most the units in flight. Units are written by whoever makes them, the rest by
the one process that asked for them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.atomic import atomic_path, write_json
from nodulenet.config.patch_spec import PatchSpec
from nodulenet.ct.sources import one_line
from nodulenet.errors import StoreError
from nodulenet.patches.values import Values

FORMAT = 1
HEAD = "store.json"
INDEX = "index.parquet"
FAILURES = "failures.json"
# Each open memory map holds a file descriptor; systems allow about 1,000.
_OPEN_SHARDS = 256
_PLACE_COLUMNS = ("shard", "shard_row", "content_hash")
MAKE_AGAIN = "remove it and run `nodulenet prepare` again"


@dataclass(frozen=True)
class UnitResult:
    """What became of one unit (a scan, or a piece of an archive).

    Attributes:
        unit: its name.
        finding_ids: the findings whose patches were made, in the order of the shard's rows.
        hashes: content hash of each patch.
        failures: ``{"what", "error", "cause"}`` of each finding that has no patch; failures of
            one cause differ in nothing but the finding.
        warnings: what was tolerated.
        source_state: what tells whether the unit's files have been replaced since.
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
        head_file = path / HEAD
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

    def reopen(self) -> None:
        """Say that units are about to be made.

        The index tells rows of shards: it must not outlive the shards that it was made for.
        """
        (self.path / INDEX).unlink(missing_ok=True)

    def write(self, result: UnitResult, patches: npt.NDArray[np.int16]) -> None:
        """Store the patches of a unit, then its journal."""
        write_unit(self.path, result, patches)

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
        for file in _leftovers(self.path):
            file.unlink(missing_ok=True)
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
        own = findings.drop(columns=[c for c in _PLACE_COLUMNS if c in findings.columns])
        index = own.merge(places, on="finding_id", validate="one_to_one")
        with atomic_path(self.path / INDEX) as temporary:
            index.to_parquet(temporary, index=False)
        return PatchStore(self.path)


def finished_unit(
    store: Path, unit: str, source_state: Callable[[], dict[str, Any]]
) -> UnitResult | None:
    """The journal of a unit that is whole and whose source has not changed since.

    ``source_state`` is asked only where there is a journal: it costs a look at every file of the
    scan.
    """
    result = read_journal(journal_path(store, unit))
    if result is None or (result.finding_ids and not shard_path(store, unit).is_file()):
        return None
    return result if result.source_state == source_state() else None


def write_unit(store: Path, result: UnitResult, patches: npt.NDArray[np.int16]) -> None:
    """Store the patches of a unit, then its journal; from any process, several at a time."""
    if len(patches):
        with (
            atomic_path(shard_path(store, result.unit)) as temporary,
            temporary.open("wb") as file,
        ):
            np.save(file, patches, allow_pickle=False)
    write_json(journal_path(store, result.unit), {**vars(result)})


class PatchStore:
    """A finished store, opened for reading; the index is read when it is first needed.

    Attributes:
        path: its folder.
        spec: the stored geometry (its windows are defaults: windows apply at load).
        values: the scale between stored int16 and source values.
        source: description of where the patches come from.

    Raises:
        StoreError: there is no finished store, or it is damaged.
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
        self._count = self._count_rows(index_file)
        self._open = lru_cache(maxsize=_OPEN_SHARDS)(self._open_shard)

    def __len__(self) -> int:
        return self._count

    @cached_property
    def index(self) -> pd.DataFrame:
        """One row a patch, in the order of the findings."""
        return self._read_index()

    @cached_property
    def _places(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Shard and row in it of every patch."""
        columns = ["shard", "shard_row"]
        # Not the whole index, of which a process that only loads patches has no use.
        table = self.index if "index" in self.__dict__ else self._read_index(columns)
        return table["shard"].to_numpy(), table["shard_row"].to_numpy()

    def _count_rows(self, file: Path) -> int:
        from pyarrow import parquet

        try:
            with parquet.ParquetFile(file) as footer:
                missing = {"finding_id", *_PLACE_COLUMNS} - set(footer.schema_arrow.names)
                count = int(footer.metadata.num_rows)
        except (OSError, ValueError) as error:
            raise _unreadable_index(file, one_line(error)) from error
        if missing:
            raise _unreadable_index(file, f"no column {min(missing)!r}")
        return count

    def _read_index(self, columns: list[str] | None = None) -> pd.DataFrame:
        file = self.path / INDEX
        try:
            return pd.read_parquet(file, columns=columns)
        except (OSError, ValueError) as error:
            raise _unreadable_index(file, one_line(error)) from error

    def failures(self) -> list[dict[str, str]]:
        """``{"what", "error"}`` of what has no patch."""
        file = self.path / FAILURES
        if not file.is_file():
            return []
        try:
            return list(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise StoreError(
                f"{file}: cannot be read ({one_line(error)}); expected a JSON list; {MAKE_AGAIN}"
            ) from error

    def patches(self, positions: npt.ArrayLike) -> npt.NDArray[np.int16]:
        """Stored patches of index positions: int16, (n, *spec.stored_shape)."""
        wanted = np.atleast_1d(np.asarray(positions, dtype=np.int64))
        result = np.empty((len(wanted), *self.spec.stored_shape), dtype=np.int16)
        shards, rows = self._places
        for i, position in enumerate(wanted):
            result[i] = self._open(str(shards[position]))[rows[position]]
        return result

    def views(self, positions: npt.ArrayLike) -> list[npt.NDArray[np.int16]]:
        """Stored patches of index positions without copies: memory-mapped, read-only."""
        shards, rows = self._places
        wanted = np.atleast_1d(np.asarray(positions, dtype=np.int64))
        return [np.asarray(self._open(str(shards[p]))[rows[p]]) for p in wanted]

    def shard(self, unit: str) -> npt.NDArray[np.int16]:
        """All patches of a unit, memory-mapped: int16, (patches, *spec.stored_shape).

        Raises:
            StoreError: the file is absent, damaged or of another shape.
        """
        return self._open(unit)

    def _open_shard(self, unit: str) -> npt.NDArray[np.int16]:
        file = shard_path(self.path, unit)
        try:
            shard = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise StoreError(
                f"{file}: shard cannot be read ({one_line(error)}); {MAKE_AGAIN}"
            ) from error
        if shard.dtype != np.int16 or shard.shape[1:] != self.spec.stored_shape:
            raise StoreError(
                f"{file}: holds {shard.dtype} patches of {shard.shape[1:]}, expected int16 of "
                f"{self.spec.stored_shape}; {MAKE_AGAIN}"
            )
        return shard


def find_store(path: str | Path) -> PatchStore:
    """The store at ``path``, or the only one in that folder: a store's own name has a hash.

    Raises:
        StoreError: there is none, or there are several.
    """
    folder = Path(path)
    if (folder / "config.yaml").is_file() and (folder / "store").is_dir():
        folder = folder / "store"  # a run directory
    if not (folder / HEAD).is_file() and folder.is_dir():
        stores = sorted(p.parent for p in folder.glob(f"*/{HEAD}"))
        if len(stores) > 1:
            raise StoreError(
                f"{folder}: holds {len(stores)} stores ({', '.join(s.name for s in stores)}); "
                f"expected one; name the one that is meant (the latest is "
                f"{max(stores, key=lambda s: s.stat().st_mtime).name}; stores of earlier "
                f"configurations may be deleted)"
            )
        folder = stores[0] if stores else folder
    return PatchStore(folder)


def content_hash(patch: npt.NDArray[np.int16]) -> str:
    """Hash of a stored patch's voxels; equal patches have equal hashes."""
    return hashlib.blake2b(np.ascontiguousarray(patch).tobytes(), digest_size=16).hexdigest()


def shard_path(store: Path, unit: str) -> Path:
    """The file with the patches of a unit."""
    return store / "shards" / f"{file_name(unit)}.npy"


def journal_path(store: Path, unit: str) -> Path:
    """The file that says a unit is whole."""
    return store / "journal" / f"{file_name(unit)}.json"


def file_name(unit: str) -> str:
    """A name for a unit's files, without ending."""
    # Units are named by people (series UIDs, folders): the hash keeps the name short and safe.
    readable = "".join(c if c.isalnum() or c in "-." else "_" for c in unit)[-24:].lstrip(".")
    return f"{readable}-{hashlib.blake2b(unit.encode(), digest_size=6).hexdigest()}"


def read_journal(file: Path) -> UnitResult | None:
    """What a journal says; None where it is missing or damaged."""
    try:
        entry = json.loads(file.read_text(encoding="utf-8"))
        return UnitResult(**{k: _as_tuple(v) for k, v in entry.items()})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _leftovers(store: Path) -> list[Path]:
    """Temporary files of runs that were killed while writing."""
    return [f for folder in ("shards", "journal") for f in (store / folder).glob(".*")]


def _unreadable_index(file: Path, why: str) -> StoreError:
    return StoreError(f"{file}: cannot be read ({why}); {MAKE_AGAIN}")


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _read_head(path: Path) -> dict[str, Any]:
    file = path / HEAD
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
