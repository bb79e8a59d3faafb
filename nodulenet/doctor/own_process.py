"""A question that is asked in a process of its own: one that dies is an answer, too."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

MARK = "nodulenet:"
"""With what the line of the answer begins, whatever else is printed; JSON follows."""


def ask(
    arguments: Sequence[str], timeout_s: float, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run this Python with ``arguments``.

    Args:
        arguments: behind the interpreter.
        timeout_s: seconds after which it is ended.
        environment: of the process. Defaults to that of this one.

    Returns:
        What the process answered, or ``error``: how it ended and the last line that it wrote.
    """
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            env=None if environment is None else dict(environment),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {timeout_s:g} s"}
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            return dict(json.loads(line.removeprefix(MARK)))
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    ended = f"signal {-done.returncode}" if done.returncode < 0 else f"code {done.returncode}"
    return {"error": f"ended with {ended}" + (f": {lines[-1]}" if lines else "")}
