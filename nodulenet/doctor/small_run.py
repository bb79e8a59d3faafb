"""The whole path once, small: phantom scans, patches, two folds, a report, an answer.

``python -m nodulenet.doctor.small_run FOLDER`` does it and says on its last line what took how
long: a process of its own, so that one that dies is an answer and not the end of the doctor.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from nodulenet.doctor.check import Check
from nodulenet.doctor.own_process import MARK, ask
from nodulenet.errors import NoduleNetError, RunError

_TIMEOUT_S = 900


def small_run_check() -> Check:
    """Run it in a folder that is removed afterwards."""
    remedy = "please report this line, with `nodulenet doctor --json`"
    with tempfile.TemporaryDirectory(prefix="nodulenet-doctor-") as folder:
        answer = ask(["-m", "nodulenet.doctor.small_run", folder], _TIMEOUT_S)
    if "error" in answer:
        return Check("small run", "fix", answer["error"].replace(folder, "FOLDER"), remedy)
    return _check_of(answer)


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
        sys.stdout.write(f"{MARK}{json.dumps(small_run(folder))}\n")
    except NoduleNetError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
