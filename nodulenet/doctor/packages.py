"""The Python that runs, and the packages that NoduleNet asks for, by their installed metadata."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.version import Version

from nodulenet.amounts import count_text
from nodulenet.doctor.check import Check

TESTED_PYTHON = (3, 11)
"""Tests run on it; for later ones the dependencies are resolved, and that is all."""

# Extras that a user chooses; those for our own work are none of his business.
EXTRAS = ("safetensors", "dicom-sr", "cluster", "export", "notebooks")
# What a package is for where its absence leaves NoduleNet of use.
_FRAMEWORKS = ("keras", "tensorflow", "torch", "monai", "tensorboard")


def python_check() -> Check:
    """The interpreter and the system."""
    system = f"{platform.system()} {platform.release()}, {platform.machine()}"
    found = f"Python {platform.python_version()}, {system}"
    if sys.version_info[:2] == TESTED_PYTHON:
        return Check("Python", "ok", found)
    tested = ".".join(map(str, TESTED_PYTHON))
    return Check("Python", "note", found, f"the tests run on {tested}; if something fails, use it")


def package_checks(requirements: Iterable[str] | None = None) -> list[Check]:
    """One line for the required packages, one a package that is missing or unfit, one for extras.

    Args:
        requirements: as a distribution declares them. Defaults to those of NoduleNet.
    """
    if requirements is None:
        requirements = requires("nodulenet") or []
    parsed = [Requirement(text) for text in requirements]
    needed = [r for r in parsed if r.marker is None or r.marker.evaluate({"extra": ""})]
    problems = [(r, problem) for r in needed if (problem := _problem(r))]
    if {r.name for r, _ in problems} >= set(_FRAMEWORKS):
        return [_evaluation_only(problems)]
    checks = [Check(r.name, "fix", problem, f'pip install "{_bare(r)}"') for r, problem in problems]
    fine = len(needed) - len(problems)
    checks.insert(0, Check("packages", "ok", f"{count_text(fine, 'package')} as required"))
    return [*checks, *_extras(parsed)]


def _evaluation_only(problems: list[tuple[Requirement, str]]) -> Check:
    missing = ", ".join(r.name for r, _ in problems)
    return Check(
        "packages",
        "note",
        f"not here: {missing}; evaluate, compare and froc work on tables without them",
        "for scans, training and answers install the whole of NoduleNet (README, Install)",
    )


def _extras(parsed: list[Requirement]) -> list[Check]:
    whole: list[str] = []
    lacking: list[str] = []
    for extra in EXTRAS:
        own = [r for r in parsed if r.marker is not None and r.marker.evaluate({"extra": extra})]
        own = [r for r in own if not r.marker.evaluate({"extra": ""})]  # type: ignore[union-attr]
        (lacking if any(_problem(r) for r in own) else whole).append(extra)
    checks = []
    if whole:
        checks.append(Check("extras", "ok", f"complete: {', '.join(whole)}"))
    if lacking:
        remedy = f'where wanted, in the clone: pip install ".[{",".join(lacking)}]"'
        checks.append(Check("extras", "note", f"not complete: {', '.join(lacking)}", remedy))
    return checks


def _problem(requirement: Requirement) -> str:
    """What is wrong with the installed package; nothing where it is as required."""
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return "not installed"
    # A build of our own kind (2.13.0+cpu) is that version.
    if not requirement.specifier.contains(Version(installed).public, prereleases=True):
        return f"{installed} is installed, {requirement.specifier} is required"
    return ""


def _bare(requirement: Requirement) -> str:
    """Name, extras and versions, without the marker."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"
