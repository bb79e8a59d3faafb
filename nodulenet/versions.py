"""What a result was made with: versions, read from the installed metadata, the command, hashes."""

from __future__ import annotations

import hashlib
import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "keras",
    "tensorflow",
    "torch",
    "monai",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "SimpleITK",
    "nibabel",
    "pydicom",
)


def versions() -> dict[str, str]:
    """Version by package, Python first; packages that are not installed are left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def file_hash(path: str | Path) -> str:
    """BLAKE2 hash of a file's content, 32 hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def command_line() -> str:
    """The command as it can be typed again; without the paths of programs, which tell a home."""
    if sys.orig_argv[1:2] == ["-m"]:
        return shlex.join(["python", *sys.orig_argv[1:]])
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
