"""All that the doctor looks at, in the order in which it is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nodulenet import __version__
from nodulenet.doctor.check import Check


def examine(folder: Path, *, small_run: bool = True) -> Iterator[Check]:
    """Look at the installation; each line comes as soon as it is known.

    Nothing of any patient is read, nothing is sent anywhere, and the home folder is not named, so
    that what it says can be pasted into a report.

    Args:
        folder: where runs would be written.
        small_run: whether to run the whole path once on phantoms. Defaults to True; it is left out
            where the packages or the backend need mending first.
    """
    for check in _looks(folder, small_run):
        yield check.without_home()


def _looks(folder: Path, small_run: bool) -> Iterator[Check]:
    from nodulenet.doctor.backends import backend_checks
    from nodulenet.doctor.machine import machine_checks
    from nodulenet.doctor.packages import package_checks, python_check
    from nodulenet.doctor.small_run import small_run_check

    yield Check("NoduleNet", "ok", __version__)
    yield python_check()
    basis = [*package_checks(), *backend_checks()]
    yield from basis
    yield from machine_checks(folder)
    if not small_run:
        return
    if any(check.state == "fix" for check in basis) or _evaluation_only(basis):
        yield Check("small run", "note", "left out: it needs the packages and the backend above")
        return
    yield small_run_check()


def _evaluation_only(checks: list[Check]) -> bool:
    return not any(check.what == "backend" and check.state == "ok" for check in checks)
