"""Files of masks, opened as labelled regions that are read one at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from nodulenet.ct import CTVolume, open_ct
from nodulenet.errors import FindingsError, ScanError
from nodulenet.findings.regions import Mask, Region, Shape

MASK_ENDINGS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
"""Endings of mask files that are not DICOM."""

MAX_LABELS = 1024
"""More labels than this are grey values, not labels; each costs a pass over its region."""

_NIFTI = (".nii", ".nii.gz")
# CTVolume keeps int16 from -1024 up: a value at its ends may have been another one.
_LOWEST, _HIGHEST = -1024, 32767
# What nibabel and SimpleITK raise for headers that break their standard.
_HEADER_ERRORS = (
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
_SLAB_VOXELS = 2**23
_REMEDY = "give a label mask, or threshold=0.5 (any number) to take values from there up as one"

Box = tuple[slice, slice, slice]
Window = Callable[[Shape, Shape], npt.NDArray[Any]]


def open_mask(path: Path, threshold: float | None) -> Mask:
    """A mask file of any of the formats.

    Args:
        path: the file.
        threshold: values from here up are label 1; None: values are labels.

    Raises:
        FindingsError: missing, unreadable, of another format, no mask, or empty.
        MissingDependencyError: DICOM without highdicom.
    """
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "there is no such file"
        raise FindingsError(
            f"{path}: {kind}; expected a mask ({', '.join(MASK_ENDINGS)} or one DICOM Segmentation "
            "file)"
        )
    if path.name.lower().endswith(MASK_ENDINGS):
        return _open_image(path, threshold)
    if looks_like_dicom(path):
        from nodulenet.findings.dicom_seg import open_dicom_seg

        return open_dicom_seg(path, threshold)
    raise FindingsError(
        f"{path}: is no mask by its ending; expected {', '.join(MASK_ENDINGS)} or a DICOM "
        "Segmentation; convert it"
    )


def looks_like_dicom(path: Path) -> bool:
    """Whether the file is DICOM by its mark after the preamble, or by its ending."""
    if path.name.lower().endswith(".dcm"):
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _open_image(path: Path, threshold: float | None) -> Mask:
    try:
        volume = open_ct(path)
        if not _whole_numbers(path):
            # Decoded once by the reader that notices a file cut short; ITK would hand out
            # whatever lies in memory.
            volume.window((0, 0, 0), (1, 1, 1))
            values = _fractions(path, volume)
        else:
            values = volume.window
        boxes = _boxes(path, volume.shape, values, threshold)
    except ScanError as error:
        raise FindingsError(f"mask {error}") from None
    except _HEADER_ERRORS as error:
        raise _unreadable(path, error) from None
    affine = volume.affine_lps.copy()
    affine[:3, :3] = affine[:3, 2::-1]
    notes = tuple(note for note in volume.warnings if "neither qform nor sform" in note)
    regions = [
        Region(label, _reader(values, box, label, threshold))
        for label, box in sorted(boxes.items())
    ]
    if not regions:
        what = "label" if threshold is None else f"value of at least {threshold:g}"
        raise FindingsError(f"{path}: holds no {what}; expected at least one marked voxel")
    return Mask(path, volume.shape, affine, regions, notes)


def _reader(
    values: Window, box: Box, label: int, threshold: float | None
) -> Callable[[], tuple[Shape, npt.NDArray[np.bool_]]]:
    start, stop = (box[0].start, box[1].start, box[2].start), [part.stop for part in box]

    def read() -> tuple[Shape, npt.NDArray[np.bool_]]:
        marked = np.empty([part.stop - part.start for part in box], np.bool_)
        step = max(1, _SLAB_VOXELS // marked[0].size)
        for first in range(start[0], stop[0], step):
            last = min(stop[0], first + step)
            part = values((first, start[1], start[2]), (last, stop[1], stop[2]))
            inside = part == label if threshold is None else part >= threshold
            marked[first - start[0] : last - start[0]] = inside
        return start, marked

    return read


def _whole_numbers(path: Path) -> bool:
    """Whether the file stores whole numbers, unscaled, that CTVolume's int16 may hold."""
    if path.name.lower().endswith(_NIFTI):
        import nibabel as nib

        image: Any = nib.load(path)
        stored = image.header.get_data_dtype()
        unscaled = image.dataobj.slope == 1 and image.dataobj.inter == 0
        return bool(np.issubdtype(stored, np.integer)) and unscaled
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader.GetPixelID() not in (sitk.sitkFloat32, sitk.sitkFloat64)


def _fractions(path: Path, volume: CTVolume) -> Window:
    """Windows of a file of floats, which CTVolume would round."""
    try:
        if path.name.lower().endswith(_NIFTI):
            import nibabel as nib

            image: Any = nib.load(path)
            whole = np.asanyarray(image.dataobj).reshape(volume.shape[::-1]).transpose()
        else:
            whole = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).reshape(volume.shape)
    except _HEADER_ERRORS as error:
        raise _unreadable(path, error) from None

    def window(start: Shape, stop: Shape) -> npt.NDArray[Any]:
        return whole[start[0] : stop[0], start[1] : stop[1], start[2] : stop[2]]

    return window


def _unreadable(path: Path, error: BaseException) -> FindingsError:
    reason = " ".join(str(error).split())[-200:] or type(error).__name__
    return FindingsError(
        f"mask {path}: cannot be read ({reason}); expected a whole file; copy or convert it again"
    )


def _boxes(path: Path, shape: Shape, values: Window, threshold: float | None) -> dict[int, Box]:
    """The box of each label, from one pass over slabs of slices."""
    depth, height, width = shape
    step = max(1, _SLAB_VOXELS // (height * width))
    boxes: dict[int, Box] = {}
    for first in range(0, depth, step):
        last = min(depth, first + step)
        slab = values((first, 0, 0), (last, height, width))
        if threshold is None:
            _check_labels(path, slab, first)
            whole = slab.astype(np.int32)
        else:
            whole = (slab >= threshold).astype(np.int32)
        for index, found in enumerate(ndimage.find_objects(whole)):
            if found is not None:
                z, y, x = found
                box = slice(z.start + first, z.stop + first), y, x
                boxes[index + 1] = _join(boxes[index + 1], box) if index + 1 in boxes else box
        if len(boxes) > MAX_LABELS:
            raise FindingsError(
                f"mask {path}: holds more than {MAX_LABELS} different values above 0, so it is no "
                f"label mask; {_REMEDY}"
            )
    return boxes


def _join(one: Box, other: Box) -> Box:
    z, y, x = (
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
    return z, y, x


def _check_labels(path: Path, slab: npt.NDArray[Any], first: int) -> None:
    low, high = slab.min(), slab.max()
    if not np.issubdtype(slab.dtype, np.integer):
        wrong = ~np.isfinite(slab) | (slab != np.rint(slab))
        if wrong.any():
            z, y, x = np.argwhere(wrong)[0].tolist()
            raise FindingsError(
                f"mask {path}: found {slab[z, y, x]:.4g} at voxel (z, y, x) {(z + first, y, x)}, "
                f"expected whole numbers, so it may be a map of probabilities; {_REMEDY}"
            )
    if low < 0:
        value = "-1024 or less" if low <= _LOWEST else f"{low:g}"
        raise FindingsError(
            f"mask {path}: found {value}, expected labels from 0 up, so it may be a scan; {_REMEDY}"
        )
    if high >= _HIGHEST:
        raise FindingsError(
            f"mask {path}: found {_HIGHEST} or more, expected labels below; {_REMEDY}"
        )
