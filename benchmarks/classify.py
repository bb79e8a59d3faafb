"""Speed of answers on a 512 x 512 x 300 scan, beside MONAI's whole-volume route in the same run.

    python benchmarks/classify.py           about five minutes on two cores
    python benchmarks/classify.py --quick   a smaller scan, fewer rounds

The bundle is made up: five untrained V2 networks on 32^3 patches at 1 mm, with every engine that is
installed. Both sides ask the same loaded networks for a patch at the same place, and their answers
are compared before anything is timed; so the difference is how the patch comes about. MONAI's route
is ``LoadImaged``, ``EnsureChannelFirstd``, ``Orientationd``, ``Spacingd``, ``SpatialCrop``; in
place of MetaImage, which MONAI needs ITK for, it reads the same scan as ``.nii``. The best call
counts. Cold starts are whole commands, each in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import SimpleITK as sitk
from reading import best, make_scan, show

from nodulenet.atomic import write_json
from nodulenet.config.patch_spec import PatchSpec
from nodulenet.ct import extract_patch, open_ct
from nodulenet.inference.bundle import FILE, FORMAT, Bundle
from nodulenet.inference.classify import classify
from nodulenet.inference.export.bundle import export_bundle
from nodulenet.models.registry import build_model
from nodulenet.patches.values import Values
from nodulenet.training.backend import keras
from nodulenet.versions import file_hash

SPEC = PatchSpec(form="3d", size=(32, 32, 32), spacing_mm=(1.0, 1.0, 1.0), margin_voxels=0)
NETWORK, FOLDS = "squeezenodule_v2_3d", 5


def make_bundle(folder: Path) -> Path:
    """Untrained networks with an open calibration, and what OpenVINO and ONNX take."""
    folder.mkdir()
    files = [f"{fold}.keras" for fold in range(FOLDS)]
    for fold, file in enumerate(files):
        keras.utils.set_random_seed(fold)
        build_model(NETWORK, SPEC.input_shape).save(folder / file)
    network = {
        "registry_name": NETWORK,
        "init_from": False,
        "files": files,
        "folds": list(range(FOLDS)),
        "hashes": [file_hash(folder / file) for file in files],
        "familiarity": None,
        "calibration": {"kind": "platt", "a": 1.0, "b": 0.0},
        "operating_points": [],
        "conformal": [],
    }
    content = {
        "format": FORMAT,
        "name": "made_up",
        "label_meaning": "candidate",
        "spec": SPEC.model_dump(mode="json"),
        "values": Values("hu").to_dict(),
        "models": {"v2_3d": network},
        "derived": {},
        "envelope": {},
        "training": {"source": "luna16", "findings": 2, "positives": 1, "patients": 2},
    }
    write_json(folder / FILE, content)
    export_bundle(Bundle(folder), ["openvino", "onnx"])
    return folder


class MonaiRoute:
    """The whole volume is read, oriented and resampled, then the patch is cut from it."""

    def __init__(self, bundle: Bundle, voxel: tuple[int, int, int], reader: str) -> None:
        from nodulenet.transforms import import_monai

        mt = import_monai().transforms
        self._bundle = bundle
        self._route = mt.Compose(
            [
                mt.LoadImaged("ct", reader=reader),
                mt.EnsureChannelFirstd("ct"),
                mt.Orientationd("ct", axcodes="RAS", labels=None),
                mt.Spacingd("ct", pixdim=(1, 1, 1)),
            ]
        )
        self._crop = mt.SpatialCrop(roi_center=voxel, roi_size=SPEC.size)

    def patch(self, scan: Path) -> Any:
        """(1, x, y, z) in RAS."""
        return self._crop(self._route({"ct": scan})["ct"])

    def centre_lps_mm(self, scan: Path) -> np.ndarray:
        """Where the patch's centre lies."""
        affine = self.patch(scan).affine.numpy()
        ras = (affine @ [15.5, 15.5, 15.5, 1])[:3]
        return ras * (-1, -1, 1)

    def answer(self, scan: Path) -> np.ndarray:
        """Raw probabilities of the fold models."""
        ras = np.asarray(self.patch(scan))[0]
        # RAS (x, y, z) -> (z, y, x) of LPS.
        lps = ras[::-1, ::-1].transpose(2, 1, 0)
        return self._bundle.predict(Values("hu").to_stored(lps)[None])


def one_finding(folder: Path, bundle: Bundle, rounds: int) -> None:
    fast = "at least 100 times faster"
    for name, peer, reader, target in (
        ("scan.mhd", "scan.nii", "NibabelReader", fast),
        ("scan.nii", "scan.nii", "NibabelReader", fast),
        ("scan.nii.gz", "scan.nii.gz", "NibabelReader", "none: decoding is most of it"),
        ("dicom", "dicom", "PydicomReader", "none: reading headers is most of it"),
    ):
        route = MonaiRoute(bundle, (180, 170, 100), reader)
        point = route.centre_lps_mm(folder / peer)

        def ours(scan: Path = folder / name, point: np.ndarray = point) -> Any:
            return classify(scan, point, bundle)

        def theirs(scan: Path = folder / peer, route: MonaiRoute = route) -> np.ndarray:
            return route.answer(scan)

        expected, found = theirs().mean(), ours().table["probability_raw"].iloc[0]
        assert abs(found - expected) < 1e-3, (found, expected)
        times = best({f"classify, {name}": ours}, 10 * rounds)
        times |= best({f"MONAI, whole scan, {peer}, same network": theirs}, rounds)
        show(f"One finding, {name}, warm, {bundle.engine}", times, target)


def many_findings(folder: Path, bundle: Bundle, rounds: int) -> None:
    rng = np.random.default_rng(3)
    for name in ("scan.mhd", "scan.nii.gz", "dicom"):
        volume = open_ct(folder / name)
        low, high = np.array((50, 50, 35)), np.array(volume.shape[::-1]) - (50, 50, 35)
        points = volume.points_of(rng.uniform(low, high, (64, 3)))
        stored = Values("hu").to_stored(
            np.stack([extract_patch(volume, p, SPEC.size, (1, 1, 1)) for p in points])
        )
        path = folder / name
        times = best(
            {
                "64": lambda path=path, points=points: classify(path, points, bundle),
                "1": lambda path=path, points=points: extract_patch(
                    open_ct(path), points[0], SPEC.size, (1, 1, 1)
                ),
                "network": lambda stored=stored: bundle.predict(stored),
            },
            3 * rounds,
        )
        allowed = 2 * times["1"] + times["network"]
        show(
            f"64 findings in {name}",
            {
                "classify": times["64"],
                "twice one finding's reading, and the networks": allowed,
            },
            f"below 1 (reading one: {times['1'] * 1e3:.0f} ms, networks: "
            f"{times['network'] * 1e3:.0f} ms)",
        )


def cold(folder: Path, bundle: Path, rounds: int) -> None:
    print("\nA whole command: one point of scan.mhd, best of the runs")
    for engine in ("openvino", "onnx", "keras"):
        command = [
            *(sys.executable, "-m", "nodulenet.cli.main", "classify", str(folder / "scan.mhd")),
            *("--model", str(bundle), "--engine", engine, "--timings"),
            "--point=0,0,-200",
        ]
        told = []
        for _ in range(rounds):
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            before = re.search(r"([\d.]+) s before the first voxels", done.stderr)
            split = re.search(r"timings +(.*)", done.stderr)
            assert before is not None, done.stderr
            assert split is not None, done.stderr
            told.append((float(before[1]), split[1]))
        before_s, line = min(told)
        print(f"  {engine:<9} {before_s:5.2f} s before the first decode; {line}")
    print("  target: under 2 s before the first decode")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smaller scan, fewer rounds")
    arguments = parser.parse_args()
    slices, rounds = (160, 1) if arguments.quick else (300, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_scan(folder, slices)
        sitk.WriteImage(sitk.ReadImage(str(folder / "scan.mhd")), str(folder / "scan.nii.gz"))
        packed = make_bundle(folder / "bundle")
        cold(folder, packed, rounds)
        bundle = Bundle(packed)
        one_finding(folder, bundle, rounds)
        many_findings(folder, bundle, rounds)


if __name__ == "__main__":
    main()
