"""Keras, imported without the start-up lines of TensorFlow, which say nothing to our users."""

from __future__ import annotations

import logging
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["keras", "own_random_numbers"]


@contextmanager
def _start_up_lines_held_back() -> Iterator[None]:
    """Keep what is written to file descriptor 2, and show it only if the block fails.

    TensorFlow 2.21 writes some lines from C++ before it looks at TF_CPP_MIN_LOG_LEVEL.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


if "keras" not in sys.modules:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _start_up_lines_held_back():
        import keras
    # Its warning of many tracings is about a loop that makes one model again and again; here
    # every fold has a model of its own.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
else:
    import keras


@contextmanager
def own_random_numbers(seed: int) -> Iterator[None]:
    """Keras's choices (initial weights, dropout) from ``seed`` alone, whatever other threads do.

    Keras 3.15 draws the seeds of its layers from Python's global generator, of which a cluster's
    worker takes numbers in other threads. The sequence is that of ``keras.utils.set_random_seed``.
    """
    from keras.src.random import seed_generator

    keras.utils.set_random_seed(seed)
    shared = seed_generator.python_random
    seed_generator.python_random = random.Random(seed)
    try:
        yield
    finally:
        seed_generator.python_random = shared
