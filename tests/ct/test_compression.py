"""JPEG in its kinds, encoded by GDCM, which knows nothing of our reader."""

from __future__ import annotations

import gdcm
import numpy as np
import pydicom
import pytest

from nodulenet.ct import open_ct

GEOMETRY = (0.7, 0.9, 1.6), (-31.0, 12.0, -205.0)


def recode(path, syntax):
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


@pytest.mark.parametrize(
    ("syntax", "uid"),
    [
        (gdcm.TransferSyntax.JPEGLosslessProcess14, "1.2.840.10008.1.2.4.57"),
        (gdcm.TransferSyntax.JPEGLosslessProcess14_1, "1.2.840.10008.1.2.4.70"),
        (gdcm.TransferSyntax.JPEGLSLossless, "1.2.840.10008.1.2.4.80"),
        (gdcm.TransferSyntax.JPEG2000Lossless, "1.2.840.10008.1.2.4.90"),
        (gdcm.TransferSyntax.RLELossless, "1.2.840.10008.1.2.5"),
    ],
)
@pytest.mark.parametrize("signed", [False, True])
def test_lossless_kinds_give_the_same_hu(tmp_path, markers, write_dicom, syntax, uid, signed):
    for path in write_dicom(tmp_path, markers, *GEOMETRY, signed=signed):
        recode(path, syntax)
        assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == uid
    np.testing.assert_array_equal(open_ct(tmp_path).array(), markers)


def test_jpeg_baseline_of_eight_bits(tmp_path, write_dicom):
    y, x = np.mgrid[0:32, 0:40]
    smooth = np.stack([-1000 + 5 * y + 4 * x + 10 * k for k in range(4)]).astype(np.int16)

    def eight_bits(ds, k):
        stored = np.rint((smooth[k] + 1024) / 4).astype(np.uint8)
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit = 7
        ds.RescaleSlope = "4"
        ds.PixelData = stored.tobytes()
        ds["PixelData"].VR = "OB"

    for path in write_dicom(tmp_path, smooth, *GEOMETRY, change=eight_bits):
        recode(path, gdcm.TransferSyntax.JPEGBaselineProcess1)
        assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
    # Lossy: within a few stored units of 4 HU.
    np.testing.assert_allclose(open_ct(tmp_path).array(), smooth, atol=16)


def test_lossy_jpeg_ls_keeps_its_promise(tmp_path, markers, write_dicom):
    def lossy(ds, k):
        ds.compress(pydicom.uid.JPEGLSNearLossless, jls_error=3)

    write_dicom(tmp_path, markers, *GEOMETRY, change=lossy)
    found = open_ct(tmp_path).array()
    assert 0 < np.abs(found.astype(int) - markers).max() <= 3
