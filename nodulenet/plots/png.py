"""Pixels as a PNG inside a page, the same bytes every time."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image


def png_data_uri(pixels: npt.NDArray[np.uint8], *, largest: int | None = None) -> str:
    """A picture as a ``data:`` address.

    Args:
        pixels: (rows, columns) grey, or (rows, columns, 3 or 4) in colour.
        largest: made smaller until no side is longer. Defaults to no limit.
    """
    image = Image.fromarray(pixels)
    if largest is not None:
        image.thumbnail((largest, largest))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
