"""The whole path once, small: phantom scans, patches, two folds, a report, an answer.

``python -m nodulenet.doctor.small_run FOLDER`` does it and says on its last line what took how
long: a process of its own, so that one that dies is an answer and not the end of the doctor.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from nodulenet.amounts import duration_text
from nodulenet.doctor.check import Check
from nodulenet.errors import NoduleNetError, RunError

_TIMEOUT_S = 900
_MARK = "nodulenet:"


def small_run_check() -> Check:
    """Run it in a folder that is removed afterwards."""
    remedy = "please report this line, with `nodulenet doctor --json`"
    with tempfile.TemporaryDirectory(prefix="nodulenet-doctor-") as folder:
        command = [sys.executable, "-m", "nodulenet.doctor.small_run", folder]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            found = f"not at its end after {duration_text(_TIMEOUT_S)}"
            return Check("small run", "fix", found, remedy)
        for line in done.stdout.splitlines():
            if line.startswith(_MARK):
                return _check_of(json.loads(line.removeprefix(_MARK)))
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        last = lines[-1].replace(folder, "FOLDER") if lines else "nothing was said"
        ended = f"signal {-done.returncode}" if done.returncode < 0 else f"code {done.returncode}"
        return Check("small run", "fix", f"ended with {ended}: {last}", remedy)


def _check_of(answer: dict[str, Any]) -> Check:
    steps = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in answer["seconds"].items())
    return Check("small run", "ok", f"scans to report and an answer: {steps}")


def small_run(folder: Path) -> dict[str, Any]:
    """Do it.

    Returns:
        ``seconds`` by step, and the ``probability`` at the phantom's first nodule.

    Raises:
        NoduleNetError: a step did not come to its end.
    """
    from nodulenet.config.load import load_config

    config = load_config(
        "demo_quick",
        [
            f"run={json.dumps(str(folder / 'run'))}",
            f"source.root={json.dumps(str(folder / 'phantom'))}",
            "source.phantom.scans=10",
            "patch.size=[24, 24]",
            "folds.inner_fraction=0.34",
            "folds.least_of_each_label=2",
            "models=[{name: squeezenodule_v2, normalization: batch}]",
            "train.epochs=1",
            "evaluate.bootstraps=100",
        ],
    )
    started = time.monotonic()
    from nodulenet.workflow import run

    result = run(config)
    trained = time.monotonic()
    if result.failures:
        raise RunError(f"small run: {result.failures[0]['what']}: {result.failures[0]['error']}")
    from nodulenet.inference.classify import classify
    from nodulenet.phantom.for_config import phantom_nodule

    scan, point_lps_mm = phantom_nodule(config)
    answers = classify(scan, [point_lps_mm], result.run)
    probability = float(answers.table["probability"].iloc[0])
    if not 0 <= probability <= 1:
        raise RunError(f"small run: probability {probability}; expected 0 to 1")
    seconds = {"run": trained - started, "answer": time.monotonic() - trained}
    return {"seconds": seconds, "probability": probability}


def main(folder: Path) -> int:
    """Do it and write the answer, or the one line that says what went wrong."""
    try:
        sys.stdout.write(f"{_MARK}{json.dumps(small_run(folder))}\n")
    except NoduleNetError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
