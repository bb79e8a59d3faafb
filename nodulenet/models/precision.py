"""Which numbers a model computes with, and where that is known to go wrong."""

from __future__ import annotations

from nodulenet.errors import UsageError

PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")


def checked_precision(precision: str, rank: int) -> str:
    """The Keras dtype policy for training with a precision on this machine.

    Args:
        precision: ``float32``, ``mixed_float16`` or ``mixed_bfloat16``.
        rank: 2 for images, 3 for volumes.

    Returns:
        The policy's name, for a model's argument ``dtype``.

    Raises:
        UsageError: the precision is unknown, or mixed for volumes on a CPU, where TensorFlow has
            no half-precision 3D pooling and bfloat16 gradients of 3D kernels become NaN without
            a word. Inference and images are not concerned.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}.")
    if precision != "float32" and rank == 3 and not has_gpu():
        raise UsageError(
            f"precision: {precision} is for GPUs; on a CPU, training 3D models in mixed precision "
            "fails or silently ruins their weights (TensorFlow 2.21). Write `precision: float32`."
        )
    return precision


def has_gpu() -> bool:
    """Whether Keras's backend sees a GPU."""
    # Imported here: Keras and its backend take seconds, and float32 does without.
    import keras

    if keras.config.backend() == "torch":
        # Keras 3.15 lists no devices there.
        import torch

        return bool(torch.cuda.is_available())
    return bool(keras.distribution.list_devices("gpu"))
