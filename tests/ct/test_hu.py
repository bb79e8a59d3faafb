from __future__ import annotations

import numpy as np
import pytest

from nodulenet.ct.hu import decoded_to_hu, to_hu


@pytest.mark.parametrize(
    ("values", "slope", "intercept", "expected"),
    [
        (np.array([-2048, -1025, -1024, 91], np.int16), 1.0, 0.0, [-1024, -1024, -1024, 91]),
        (np.array([0, 1024, 65535], np.uint16), 1.0, -1024.0, [-1024, 0, 32767]),
        (np.array([-2000, 976], np.int16), 1.0, -1024.0, [-1024, -48]),
        (np.array([0, 100, 101], np.int16), 0.5, -1000.0, [-1000, -950, -950]),
        (np.array([2**31 - 1, -(2**31)], np.int32), 1.0, 1.0, [32767, -1024]),
        (np.array([np.nan, np.inf, -np.inf, 40.6]), 1.0, 0.0, [-1024, 32767, -1024, 41]),
        (np.array([0, 255], np.uint8), 2.0, -100.0, [-100, 410]),
    ],
)  # fmt: skip
def test_stored_values_become_int16_hu(values, slope, intercept, expected):
    hu = to_hu(values, slope, intercept)
    assert hu.dtype == np.int16
    assert hu.tolist() == expected


def test_input_is_not_changed():
    values = np.array([[[-3024, 5]]], np.int16)
    assert decoded_to_hu(values).tolist() == [[[-1024, 5]]]
    assert values.tolist() == [[[-3024, 5]]]


def test_an_intercept_beyond_int16_is_no_defect():
    stored = np.array([-20000, 0], dtype=np.int16)
    assert to_hu(stored, 1.0, 40000.0).tolist() == [20000, 32767]
    assert to_hu(stored.astype(np.uint16), 1.0, -40000.0).tolist() == [5536, -1024]
