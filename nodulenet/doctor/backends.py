"""What Keras computes with here: the default backend, the others, and the devices they see.

Each framework is asked in a process of its own: one that cannot be loaded on this machine may end
the process that tries (a missing CPU instruction, a broken driver), and that is an answer, too.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nodulenet.doctor.check import Check
from nodulenet.doctor.own_process import ask

_TIMEOUT_S = 180
NAMES = {"tensorflow": "TensorFlow", "torch": "PyTorch", "jax": "JAX"}

_DEVICES = {
    "tensorflow": """
import tensorflow as tf
gpus = tf.config.list_physical_devices("GPU")
details = tf.config.experimental.get_device_details
found = [details(gpu).get("device_name", gpu.name) for gpu in gpus]
version, cuda = tf.__version__, tf.test.is_built_with_cuda()
""",
    "torch": """
import torch
found = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
found += ["Apple GPU"] if torch.backends.mps.is_available() else []
version, cuda = torch.__version__, torch.version.cuda is not None
""",
    "jax": """
import jax
found = [d.device_kind for d in jax.devices() if d.platform != "cpu"]
version, cuda = jax.__version__, bool(found)
""",
}
# A product of two matrices: a library that loads and cannot compute is no backend.
_KERAS = """
import keras
ones = keras.ops.ones((8, 8))
assert float(keras.ops.convert_to_numpy(keras.ops.sum(ones @ ones))) == 512
"""
_ANSWER = """
import json, sys
answer = {"version": version, "gpus": found, "cuda": cuda}
sys.__stdout__.write("\\nnodulenet:" + json.dumps(answer))
"""


def default_backend() -> str:
    """What Keras would take: ``$KERAS_BACKEND``, its configuration file, or TensorFlow."""
    named = os.environ.get("KERAS_BACKEND")
    if named:
        return named
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    try:
        settings = json.loads((home / "keras.json").read_text(encoding="utf-8"))
        return str(settings.get("backend", "tensorflow"))
    except (OSError, ValueError):
        return "tensorflow"


def backend_checks() -> list[Check]:
    """One line a framework that is installed, the default first, and one for a GPU left unused."""
    default = default_backend()
    if default not in NAMES:
        remedy = f"set KERAS_BACKEND to one of {', '.join(NAMES)}"
        return [Check("backend", "fix", f"KERAS_BACKEND is {default}, which is none", remedy)]
    order = sorted(NAMES, key=lambda name: name != default)
    installed = [name for name in order if find_spec(name) is not None]
    if find_spec("keras") is None or not installed:
        return [Check("backend", "note", "no Keras here: no training and no answers")]
    if default not in installed:
        remedy = f"pip install {default}, or set KERAS_BACKEND to one of {', '.join(installed)}"
        return [Check("backend", "fix", f"{NAMES[default]}, the default, is not here", remedy)]
    answers = {name: probe(name, keras=name == default) for name in installed}
    checks = [check_of(name, answers[name], name == default) for name in installed]
    seen = [gpu for answer in answers.values() for gpu in answer.get("gpus", [])]
    return [*checks, *unused_gpu(nvidia_gpus(), bool(answers[default].get("gpus")), bool(seen))]


def probe(name: str, *, keras: bool) -> dict[str, Any]:
    """Version and GPUs of a framework, asked in a process of its own.

    Returns:
        ``version``, ``gpus`` (names) and ``cuda``, or ``error``.
    """
    code = _DEVICES[name] + (_KERAS if keras else "") + _ANSWER
    environment = {**os.environ, "KERAS_BACKEND": name, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return ask(["-c", code], _TIMEOUT_S, environment)


def check_of(name: str, answer: dict[str, Any], default: bool) -> Check:
    """What a framework answered, as a line."""
    role = " (the default)" if default else ""
    if "error" in answer:
        again = f"pip install --force-reinstall {name}, or another KERAS_BACKEND"
        found = f"{NAMES[name]}{role} does not work: {answer['error']}"
        return Check("backend", "fix" if default else "note", found, again)
    gpus = ", ".join(answer["gpus"]) or "CPU only"
    return Check("backend", "ok", f"{NAMES[name]} {answer['version']}{role}: {gpus}")


def nvidia_gpus() -> list[str]:
    """Names of the NVIDIA GPUs that the driver lists; none without a driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] * (
        done.returncode == 0
    )


def unused_gpu(gpus: list[str], by_default: bool, by_any: bool) -> list[Check]:
    """A line where the machine has an NVIDIA GPU that the default backend does not see."""
    if not gpus or by_default:
        return []
    found = f"{', '.join(gpus)} is there, and the default backend does not see it"
    if by_any:
        remedy = "set KERAS_BACKEND to the backend above that sees it"
    elif platform.system() == "Windows":
        remedy = "TensorFlow has no GPU on Windows: use WSL2, or torch's CUDA build as backend"
    else:
        remedy = 'pip install "tensorflow[and-cuda]" of the version above'
    return [Check("GPU", "note", found, f"{remedy} (docs/how-to/gpu.md)")]
