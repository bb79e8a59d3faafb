from __future__ import annotations

import keras
import pytest

from nodulenet.errors import UsageError
from nodulenet.models import checked_precision


@pytest.mark.parametrize("gpu", [False, True])
def test_mixed_precision_of_volumes_needs_a_gpu(gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.distribution, "list_devices", lambda _kind: ["gpu:0"] if gpu else [])
    assert checked_precision("float32", 3) == "float32"
    for precision in ("mixed_float16", "mixed_bfloat16"):
        assert checked_precision(precision, 2) == precision
        if gpu:
            assert checked_precision(precision, 3) == precision
        else:
            with pytest.raises(UsageError, match=f"precision: {precision} is for GPUs"):
                checked_precision(precision, 3)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(UsageError, match=r"float32, mixed_float16, mixed_bfloat16, got 'half'"):
        checked_precision("half", 2)
