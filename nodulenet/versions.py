"""Versions of what results depend on, read from the installed metadata; nothing is imported."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

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
