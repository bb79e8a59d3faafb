"""Speed and memory of ``prepare``, beside a plain MONAI PersistentDataset in the same run.

    python benchmarks/prepare.py           LUNA16-size scans, a few minutes on two cores
    python benchmarks/prepare.py --quick   small scans, less than a minute

Both make the same patches of the same voxels, which is checked. The peer loads a scan, resamples
it as a whole (what MONAI's tutorials do) and crops every finding from it; it is given one item a
scan, so that it loads and resamples once a scan, and all threads. ``prepare`` resamples a small
window a finding. Both are warm: neither the import of MONAI nor the start of workers is counted,
which is shown by itself. Rounds take turns and the best counts.

Four scans are written and shared by as many headers as are needed, so that 888 of them fit on any
disk; they are in the file system's cache, for both.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd

from nodulenet.config.schema import Config
from nodulenet.cpus import usable_cpus
from nodulenet.patches.prepare import prepare
from nodulenet.patches.store import PatchStore

LUNA16_SHAPE, QUICK_SHAPE = (150, 512, 512), (60, 192, 192)
SPACING_MM = (0.7, 0.7, 2.0)
SIZE, MARGIN = 32, 4
FILES = 4  # different scans on disk
# The store rounds to whole HU, MONAI computes grid positions in float32.
AGREEMENT_HU = 1.0


def write_scans(folder: Path, shape: tuple[int, int, int], scans: int, findings: int) -> None:
    """``folder/scans`` with ``.mhd``, ``folder/nifti`` with the same voxels, ``points.csv``."""
    rng = np.random.default_rng(0)
    (folder / "scans").mkdir(parents=True)
    (folder / "nifti").mkdir()
    affine_ras = np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0])
    for number in range(FILES):
        noise = rng.normal(-850, 60, (shape[0], shape[1] // 4, shape[2] // 4))
        # Below -1024, the lowest HU of air, `prepare` would cut and the peer would not.
        hu = noise.clip(-1000).repeat(4, 1).repeat(4, 2).astype(np.int16)
        hu[:, shape[1] // 3 : shape[1] // 2] += 900
        (folder / "scans" / f"voxels{number}.raw").write_bytes(hu.tobytes())
        image = nibabel.Nifti1Image(hu.transpose(2, 1, 0), affine_ras)
        nibabel.save(image, folder / "nifti" / f"{number}.nii")
    rows = []
    reach = (SIZE / 2 + MARGIN) * 1.5
    extent = np.array(shape[::-1]) * SPACING_MM
    for scan in range(scans):
        header = (
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
            "CompressedData = False\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\n"
            f"ElementSpacing = {SPACING_MM[0]} {SPACING_MM[1]} {SPACING_MM[2]}\n"
            f"DimSize = {shape[2]} {shape[1]} {shape[0]}\nElementType = MET_SHORT\n"
            f"ElementDataFile = voxels{scan % FILES}.raw\n"
        )
        (folder / "scans" / f"scan-{scan}.mhd").write_text(header)
        # On half millimetres, so that the voxels of an even patch lie on the peer's grid as well.
        points = np.floor(rng.uniform(reach, extent - reach, (findings, 3))) + 0.5
        rows += [(f"scan-{scan}", *point) for point in points]
    pd.DataFrame(rows, columns=["scan_id", "x", "y", "z"]).to_csv(
        folder / "points.csv", index=False
    )


def config_of(folder: Path, scans: int) -> Config:
    """The configuration of the first ``scans`` scans, with a store of its own."""
    table = pd.read_csv(folder / "points.csv")
    points = folder / f"points-{scans}.csv"
    table[table["scan_id"].isin([f"scan-{n}" for n in range(scans)])].to_csv(points, index=False)
    return Config.model_validate(
        {
            "name": "benchmark",
            "run": str(folder / f"run-{scans}"),
            "label_meaning": "candidate",
            "source": {"kind": "points", "scans": str(folder / "scans"), "points": str(points)},
            "patch": {"size": [SIZE] * 3, "spacing_mm": [1.0] * 3, "margin_voxels": MARGIN},
            "models": ["squeezenodule_v2_3d"],
        }
    )


def ours(config: Config, jobs: int) -> tuple[float, PatchStore]:
    shutil.rmtree(config.store_path, ignore_errors=True)
    begin = time.perf_counter()
    store = prepare(config, jobs=jobs).store
    return time.perf_counter() - begin, store


def peer(folder: Path, scans: int) -> tuple[float, list[np.ndarray]]:
    """Seconds of a PersistentDataset over the first scans, and its patches (z, y, x)."""
    from nodulenet.transforms import import_monai

    import_monai()
    # Lines about plugins and defaults, nothing about what is measured.
    warnings.filterwarnings("ignore", module="monai")
    from monai.data import PersistentDataset
    from monai.transforms import (
        Compose,
        EnsureChannelFirstd,
        LoadImaged,
        Orientationd,
        Spacingd,
        SpatialCrop,
    )

    size = SIZE + 2 * MARGIN
    table = pd.read_csv(folder / "points.csv")
    items = []
    for scan in range(scans):
        points = table.loc[table["scan_id"] == f"scan-{scan}", ["x", "y", "z"]].to_numpy()
        items.append({"ct": str(folder / "nifti" / f"{scan % FILES}.nii"), "points": points})

    def crop_all(item: dict[str, Any]) -> dict[str, Any]:
        # The grid begins at the origin with 1 mm; MONAI crops from centre - size // 2.
        starts = [np.round(p - (size - 1) / 2).astype(int) for p in item["points"]]
        crops = [SpatialCrop(roi_start=s, roi_end=s + size)(item["ct"]) for s in starts]
        return {"patches": np.stack([np.asarray(c[0]) for c in crops]).astype(np.float32)}

    transform = Compose(
        [
            LoadImaged("ct", reader="NibabelReader"),
            EnsureChannelFirstd("ct"),
            Orientationd("ct", axcodes="LPS"),
            Spacingd("ct", pixdim=(1.0, 1.0, 1.0), mode="bilinear", padding_mode="border"),
            crop_all,
        ]
    )
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        data = PersistentDataset(items, transform, cache_dir=cache)
        begin = time.perf_counter()
        found = [data[i]["patches"] for i in range(len(data))]
        seconds = time.perf_counter() - begin
    return seconds, [p.transpose(2, 1, 0) for patches in found for p in patches]


def compare(folder: Path, scans: int, rounds: int) -> None:
    config = config_of(folder, scans)
    times: dict[str, list[float]] = {"1 process": [], "2 processes": [], "MONAI": []}
    ours(config, 1)
    ours(config, 2)
    for _ in range(rounds):
        seconds, patches = peer(folder, scans)
        times["MONAI"].append(seconds)
        for jobs, name in ((1, "1 process"), (2, "2 processes")):
            seconds, store = ours(config, jobs)
            times[name].append(seconds)
    difference = np.abs(store.patches(range(len(store))) - np.stack(patches))
    if difference.max() > AGREEMENT_HU:
        raise SystemExit(f"the patches differ by {difference.max()} HU; no comparison is possible")
    best = {name: min(values) for name, values in times.items()}
    print(f"\n{scans} scans, {len(store)} patches of {SIZE + 2 * MARGIN}^3 voxels of 1 mm; they")
    print(f"differ by at most {difference.max():.1f} HU\n")
    print("| | scans/s | patches/s | ratio to MONAI |")
    print("|---|---:|---:|---:|")
    for name, seconds in best.items():
        print(
            f"| {name} | {scans / seconds:.2f} | {len(store) / seconds:.0f} "
            f"| **{best['MONAI'] / seconds:.1f}** |"
        )


def scale(folder: Path, scans: int, rounds: int) -> None:
    """Whole preparations, start of the workers from their server included."""
    config = config_of(folder, scans)
    seconds = {jobs: min(ours(config, jobs)[0] for _ in range(rounds)) for jobs in (1, 2)}
    print(
        f"\n{scans} scans: {seconds[1]:.2f} s with 1 process, {seconds[2]:.2f} s with 2: "
        f"**{seconds[1] / seconds[2]:.2f}** times as fast (target 1.7)"
    )


def memory(folder: Path) -> None:
    print("\n| scans | jobs | seconds, cold | peak MB, one process | peak MB, all |")
    print("|---:|---:|---:|---:|---:|")
    for jobs in (1, 2):
        for scans in (4, 16, 64):
            config_of(folder, scans)
            shutil.rmtree(folder / f"run-{scans}", ignore_errors=True)
            command = [sys.executable, __file__, "--one", str(folder), str(scans), str(jobs)]
            begin = time.perf_counter()
            # In a session of its own, by which its workers are found.
            process = subprocess.Popen(command, start_new_session=True)
            watch = Watch(process.pid)
            if process.wait():
                raise SystemExit("prepare failed")
            seconds = time.perf_counter() - begin
            watch.stop()
            print(f"| {scans} | {jobs} | {seconds:.1f} | {watch.one:.0f} | {watch.all:.0f} |")


class Watch(threading.Thread):
    """Peak of the memory that is no file's, of the largest process and of a whole session.

    What workers share with the server that they were forked from counts once in the sum.
    """

    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self.session, self.one, self.all = session, 0.0, 0.0
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.wait(0.05):
            found = [self._megabytes(p) for p in Path("/proc").glob("[0-9]*")]
            self.one = max(self.one, *(rss for rss, _ in found))
            self.all = max(self.all, sum(pss for _, pss in found))

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def _megabytes(self, process: Path) -> tuple[float, float]:
        """Resident and proportional size."""
        try:
            stat = (process / "stat").read_text().rsplit(")", 1)[1].split()
            if int(stat[3]) != self.session:
                return 0.0, 0.0
            lines = (process / "smaps_rollup").read_text().splitlines()[1:]
            sizes = {name: int(kb) for name, kb, *_ in map(str.split, lines)}
            return sizes["Anonymous:"] / 1024, sizes["Pss_Anon:"] / 1024
        except (OSError, IndexError, KeyError, ValueError):
            return 0.0, 0.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small scans, one round")
    parser.add_argument("--findings", type=int, default=10, help="of each scan; default 10")
    parser.add_argument("--folder", type=Path, help="where to write 600 MB; default temporary")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        folder, scans, jobs = arguments.one
        ours(config_of(Path(folder), int(scans)), int(jobs))
        return
    shape = QUICK_SHAPE if arguments.quick else LUNA16_SHAPE
    rounds = 1 if arguments.quick else 3
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        scans = 200 if arguments.quick else 888
        write_scans(folder, shape, scans, arguments.findings)
        facts = {"scan": shape, "spacing_mm": SPACING_MM, "cpus": usable_cpus()}
        print(json.dumps(facts | {"findings a scan": arguments.findings}))
        compare(folder, FILES, rounds)
        scale(folder, scans, rounds)
        memory(folder)


if __name__ == "__main__":
    main()
