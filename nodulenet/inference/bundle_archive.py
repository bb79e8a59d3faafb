"""A bundle in one ``.zip``: written the same byte for byte, unpacked with care."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path, PurePosixPath

from nodulenet.atomic import atomic_path
from nodulenet.errors import BundleError

LARGEST_BYTES = 4 * 2**30
"""A bundle that unpacks to more is none of ours: ten 3D models are 400 MB."""
_MOST_FILES = 10_000
# Zip's own beginning of time, so that packing the same twice gives the same file.
_NO_DATE = (1980, 1, 1, 0, 0, 0)


def write_archive(folder: Path, path: Path) -> None:
    """All files of a folder, by their names below it, sorted."""
    with (
        atomic_path(path) as temporary,
        # Weights do not shrink; the time is better spent elsewhere.
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
    ):
        for file in sorted(f for f in folder.rglob("*") if f.is_file()):
            member = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _NO_DATE)
            member.external_attr = 0o644 << 16
            archive.writestr(member, file.read_bytes())


def unpack_archive(path: Path, folder: Path) -> None:
    """Unpack a bundle into a folder of ours.

    Raises:
        BundleError: no zip archive, a damaged or encrypted one, names that lead out of it, or more
            than a bundle can hold.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
            _check(path, members)
            for member in members:
                target = folder / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as packed, target.open("wb") as file:
                    # Never more than was announced and checked.
                    file.write(packed.read(member.file_size))
    except (
        zipfile.BadZipFile,
        zlib.error,
        RuntimeError,
        NotImplementedError,
        EOFError,
    ) as error:
        raise BundleError(
            f"{path}: is no readable bundle ({' '.join(str(error).split())}); copy it again"
        ) from error


def _check(path: Path, members: list[zipfile.ZipInfo]) -> None:
    for member in members:
        name = PurePosixPath(member.filename.replace("\\", "/"))
        begin = name.parts[0] if name.parts else ":"
        if name.is_absolute() or ".." in name.parts or ":" in begin:
            raise BundleError(
                f"{path}: holds the name {member.filename!r}, which leads out of the archive; do "
                f"not trust this file"
            )
    size = sum(member.file_size for member in members)
    if size > LARGEST_BYTES or len(members) > _MOST_FILES:
        raise BundleError(
            f"{path}: unpacks to {size} bytes in {len(members)} files, expected at most "
            f"{LARGEST_BYTES} in {_MOST_FILES}; it may be a decompression bomb"
        )
