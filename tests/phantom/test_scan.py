"""One scan: geometry, plausible HU, findings where they should be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from nodulenet.errors import UsageError
from nodulenet.phantom import PhantomScan, make_scan, plan_scan
from nodulenet.phantom.identity import derived_uid, is_follow_up, patient_id, subset_of

Mean = Callable[[PhantomScan, tuple[float, float, float], float], float]


def test_same_seed_same_scan_and_another_seed_another(small_shape: tuple[int, int, int]) -> None:
    first = make_scan(5, 2, shape=small_shape, negatives=8)
    again = make_scan(5, 2, shape=small_shape, negatives=8)
    other = make_scan(6, 2, shape=small_shape, negatives=8)
    np.testing.assert_array_equal(first.hu, again.hu)
    assert first.series_uid == again.series_uid != other.series_uid
    assert first.nodules == again.nodules
    assert first.candidates == again.candidates
    assert (first.hu != other.hu).mean() > 0.5


def test_global_random_state_is_neither_used_nor_changed(
    small_shape: tuple[int, int, int],
) -> None:
    np.random.seed(0)  # noqa: NPY002 the legacy state is the thing under test
    first = make_scan(5, 0, shape=small_shape)
    drawn = np.random.random()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    assert drawn == np.random.random()  # noqa: NPY002
    np.random.seed(99)  # noqa: NPY002
    np.testing.assert_array_equal(first.hu, make_scan(5, 0, shape=small_shape).hu)


def test_the_plan_is_that_of_the_scan(small_shape: tuple[int, int, int]) -> None:
    scan = make_scan(5, 1, shape=small_shape, negatives=8)
    plan = plan_scan(5, 1, shape=small_shape, negatives=8)
    assert plan.candidates == scan.candidates
    assert plan.origin_lps_mm == scan.origin_lps_mm
    assert plan.series_uid == scan.series_uid


def test_geometry_differs_between_scans_within_the_stated_ranges() -> None:
    plans = [plan_scan(0, index, shape=(32, 64, 64), negatives=0) for index in range(60)]
    spacings = np.array([plan.spacing_mm for plan in plans])
    assert ((spacings[:, :2] >= 0.6) & (spacings[:, :2] <= 0.9)).all()
    assert (spacings[:, 0] == spacings[:, 1]).all()
    assert ((spacings[:, 2] >= 1.0) & (spacings[:, 2] <= 2.5)).all()
    assert len(set(spacings[:, 2])) >= 5
    assert len({plan.origin_lps_mm for plan in plans}) == 60
    flipped = sum(plan.direction[0, 0] < 0 for plan in plans)
    assert 1 <= flipped <= 15
    for plan in plans:
        # Exact in float32 too, so that no format rounds them.
        for value in (*plan.spacing_mm, *plan.origin_lps_mm):
            assert float(np.float32(value)) == value


def test_identity() -> None:
    uids = {derived_uid("series", 0, index) for index in range(200)}
    assert len(uids) == 200
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in uids)
    assert all(str(int(part)) == part for uid in uids for part in uid.split("."))
    ids = [patient_id(index) for index in range(80)]
    assert len(set(ids)) == 70
    for index in range(80):
        assert is_follow_up(index) == (index > 0 and ids[index] == ids[index - 1])
    subsets = np.bincount([subset_of(index) for index in range(80)], minlength=10)
    assert subsets.max() - subsets.min() <= 1


def test_hu_of_air_lung_and_body(scans: list[PhantomScan]) -> None:
    for scan in scans:
        assert scan.hu.dtype == np.int16
        lowest = int(scan.hu.min())
        assert lowest in (-1024, -2048)
        assert scan.hu.max() < 2000
        body = scan.hu[(scan.hu > -300) & (scan.hu < 300)]
        lung = scan.hu[(scan.hu > -960) & (scan.hu < -700)]
        assert -20 < np.median(body) < 90
        assert -900 < np.median(lung) < -800
        assert 0.08 < len(lung) / scan.hu.size < 0.45
        if lowest == -2048:
            # Only outside the round field of view.
            half = (np.array(scan.hu.shape[1:]) - 1) / 2
            y, x = np.indices(scan.hu.shape[1:]) - half[:, None, None]
            radius = np.hypot(x, y) / (half.max() + 0.5)
            assert radius[(scan.hu == -2048).any(axis=0)].min() >= 0.99


def test_dependent_lung_is_denser(scans: list[PhantomScan]) -> None:
    for scan in scans:
        middle = scan.hu.shape[0] // 2
        part = scan.hu[middle - 8 : middle + 8].astype(float)
        lung = (part > -950) & (part < -760)
        counts = lung.sum(axis=(0, 2))
        wide = counts > counts.max() / 3
        rows = (part * lung).sum(axis=(0, 2))[wide] / counts[wide]
        # The table is under the last row: prone scans are stored turned, as scanners do.
        assert np.polyfit(np.arange(len(rows)), rows, 1)[0] > 0


def test_noise_is_correlated_in_plane_as_its_kernel_says(scans: list[PhantomScan]) -> None:
    correlation: dict[str, list[float]] = {}
    for scan in scans:
        # Neck and abdomen are flat: differences between adjacent slices are noise.
        for start in (0, scan.hu.shape[0] - 6):
            block = scan.hu[start : start + 6].astype(float)
            centre = block[:, block.shape[1] // 2 - 12 : block.shape[1] // 2 + 12]
            centre = centre[:, :, block.shape[2] // 4 : block.shape[2] // 4 + 20]
            noise = np.diff(centre, axis=0)
            if np.abs(centre.mean() - 50) > 40 or noise.std() > 80:
                continue
            assert 5 < noise.std() / np.sqrt(2) < 60
            right = np.corrcoef(noise[:, :, 1:].ravel(), noise[:, :, :-1].ravel())[0, 1]
            correlation.setdefault(scan.plan.kernel, []).append(float(right))
    assert len(correlation) >= 2
    if "standard" in correlation:
        assert 0.4 < np.mean(correlation["standard"]) < 0.75
    if "sharp" in correlation:
        assert np.mean(correlation["sharp"]) < 0.4
    if "soft" in correlation:
        assert np.mean(correlation["soft"]) > 0.5


def test_solid_nodules_are_soft_tissue_and_ground_glass_is_between(
    scans: list[PhantomScan], mean_within: Mean
) -> None:
    solid, glass = [], []
    for scan in scans:
        for nodule in scan.nodules:
            if nodule.diameter_mm < 6:
                continue
            mean = mean_within(scan, nodule.centre_mm, 0.25 * nodule.diameter_mm)
            if nodule.texture == "solid":
                solid.append(mean)
            elif nodule.texture == "ground-glass":
                glass.append(mean)
    assert len(solid) >= 3
    assert np.median(solid) > -60
    assert min(solid) > -450
    assert len(glass) >= 1
    assert all(-760 < value < -250 for value in glass)


def test_lung_candidates_lie_in_lung(scans: list[PhantomScan], mean_within: Mean) -> None:
    means = [
        mean_within(scan, candidate.centre_mm, 2.0)
        for scan in scans[:3]
        for candidate in scan.candidates
        if candidate.kind == "lung"
    ]
    assert len(means) >= 5
    assert np.median(means) < -700


def test_candidates_keep_the_rule_of_luna16(scans: list[PhantomScan]) -> None:
    hits = 0
    for scan in scans:
        radii = np.array([nodule.radius_mm for nodule in scan.nodules])
        centres = np.array([nodule.centre_mm for nodule in scan.nodules]).reshape(-1, 3)
        found = np.zeros(len(radii), dtype=int)
        for candidate in scan.candidates:
            within = np.linalg.norm(centres - np.array(candidate.centre_mm), axis=1) < radii
            assert within.any() == (candidate.label == 1)
            assert (candidate.kind == "nodule") == (candidate.label == 1)
            found += within
        assert set(found) <= {1, 2}
        hits += found.sum()
    assert hits > 8
    kinds = {candidate.kind for scan in scans for candidate in scan.candidates}
    assert kinds >= {"branch", "cross-section", "pleural-bump", "airway", "lung", "scar"}


def test_findings_lie_in_the_scan_and_apart(scans: list[PhantomScan]) -> None:
    for scan in scans:
        last = np.array(scan.hu.shape[::-1]) - 1
        findings = [*scan.nodules, *scan.excluded, *scan.candidates]
        index = scan.index_of(np.array([finding.centre_mm for finding in findings]))
        assert ((index >= 0) & (index <= last)).all()
        for first, one in enumerate(scan.nodules):
            assert 4.0 <= one.diameter_mm <= 25.0
            for other in scan.nodules[first + 1 :]:
                gap = np.linalg.norm(np.subtract(one.centre_mm, other.centre_mm))
                assert gap > one.radius_mm + other.radius_mm


def test_candidate_kinds_are_what_their_names_say(
    scans: list[PhantomScan], mean_within: Mean
) -> None:
    """Vessels are denser than lung at the point and less so around; bumps are dense around."""
    near: dict[str, list[float]] = {}
    around: dict[str, list[float]] = {}
    for scan in scans[:3]:
        for candidate in scan.candidates:
            near.setdefault(candidate.kind, []).append(mean_within(scan, candidate.centre_mm, 1.5))
            around.setdefault(candidate.kind, []).append(mean_within(scan, candidate.centre_mm, 8))
    for kind in ("branch", "cross-section"):
        assert np.median(near[kind]) > -600
        assert np.median(near[kind]) > np.median(around[kind]) + 60
    assert np.median(near["pleural-bump"]) > -250
    assert np.median(around["pleural-bump"]) > np.median(around["branch"]) + 100


def test_the_second_scan_of_a_patient_shows_the_same_nodules(scans: list[PhantomScan]) -> None:
    before, after = scans[6], scans[7]
    assert before.patient_id == after.patient_id
    assert before.plan.subset == after.plan.subset
    assert before.series_uid != after.series_uid
    assert before.spacing_mm != after.spacing_mm
    assert [n.shape_seed for n in before.nodules] == [n.shape_seed for n in after.nodules]
    assert before.nodules
    for one, two in zip(before.nodules, after.nodules, strict=True):
        assert one.diameter_mm <= two.diameter_mm <= 1.25 * one.diameter_mm
    others = {scan.patient_id for scan in scans[:6]}
    assert len(others) == 6
    assert before.patient_id not in others


def test_malignancy_rises_with_size_and_spicules() -> None:
    from nodulenet.phantom.nodules import draw_properties

    rng = np.random.default_rng(0)
    drawn = [draw_properties(rng) for _ in range(3000)]
    rating = np.array([nodule.malignancy for nodule in drawn])
    size = np.log([nodule.diameter_mm for nodule in drawn])
    spiculated = np.array([nodule.margin == "spiculated" for nodule in drawn])
    assert (np.bincount(rating, minlength=6)[1:] > 100).all()
    correlation = np.corrcoef(size, rating)[0, 1]
    assert 0.5 < correlation < 0.9
    assert rating[spiculated].mean() > rating[~spiculated].mean() + 0.6
    assert min(nodule.diameter_mm for nodule in drawn) >= 4.0
    assert max(nodule.diameter_mm for nodule in drawn) <= 25.0
    assert not any(
        nodule.margin == "spiculated" and nodule.texture == "ground-glass" for nodule in drawn
    )


def test_no_nodules_and_no_negatives_on_request(small_shape: tuple[int, int, int]) -> None:
    plan = plan_scan(1, 0, shape=small_shape, nodules=(0, 0), negatives=0)
    assert plan.nodules == ()
    assert plan.candidates == ()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"shape": (8, 64, 64)}, "at least"),
        ({"shape": (64, 64)}, "three numbers of voxels"),
        ({"nodules": (3, 1)}, "fewest, most"),
        ({"negatives": -1}, "'negatives'"),
        ({"seed": -1}, "integer >= 0"),
        ({"index": -1}, "'index'"),
    ],
)
def test_arguments_out_of_range_are_named(argument: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_scan(**argument)  # type: ignore[arg-type]


def test_size_and_brightness_alone_do_not_separate_the_classes(
    scans: list[PhantomScan], mean_within: Mean
) -> None:
    """Neither trivial nor hopeless: what a linear rule on mean HU reaches on its own data."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    candidates = [(scan, candidate) for scan in scans for candidate in scan.candidates]
    labels = np.array([candidate.label for _, candidate in candidates])
    means = np.array(
        [
            [mean_within(scan, candidate.centre_mm, radius) for radius in (3.0, 6.0, 9.0)]
            for scan, candidate in candidates
        ]
    )
    features = (np.maximum(means, -1024) + 600) / 200
    model = LogisticRegression(class_weight="balanced").fit(features, labels)
    assert 0.65 < roc_auc_score(labels, model.decision_function(features)) < 0.93
