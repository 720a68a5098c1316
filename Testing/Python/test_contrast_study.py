"""Cohorts of the studies shortcut and chapter5-contrast: slices, coarse grids, marks, N4."""

import sys
from pathlib import Path

import numpy as np
import pytest
from AttribSegLib.bundle import Bundle, save_bundle
from AttribSegLib.cohort import Case, Cohort, read_cohort, write_cohort
from AttribSegLib.image import Image, mni152_geometry
from AttribSegLib.image_io import read_image, write_image
from AttribSegLib.recipes.attribution import AttributionRecipe
from AttribSegLib.simulation import simulate_cohort
from AttribSegLib.simulation.signature import corner_mark
from AttribSegLib.thresholds import USER, Threshold

EVIDENCE = Path(__file__).resolve().parents[1] / "Evidence"
sys.path[:0] = [str(EVIDENCE / name) for name in ("shortcut", "chapter5-contrast", "")]
from low_contrast import as_slices, chosen_pairs, chosen_slices, contrasts  # noqa: E402
from searched_alphas import alphas_text, found_alphas  # noqa: E402
from shortcut_cohorts import (  # noqa: E402
    coarser,
    coarser_mask,
    derived,
    mark_voxels,
    redrawn,
    with_mark,
)

GRID = mni152_geometry(2)


def brain_image(offset=0):
    """A block of brain whose values rise along K, as whole numbers."""
    array = np.zeros(GRID.size, np.int16)
    array[20:70, 20 + offset : 80, 10:80] = 100 + np.arange(10, 80)
    return Image(array, GRID)


def lesion_mask(low, high):
    array = np.zeros(GRID.size, np.uint8)
    array[40:55, 40:60, low:high] = 1
    return Image(array, GRID)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Four patients and four healthy ones; patient n has lesions in slices 20 + n to 40."""
    folder = tmp_path_factory.mktemp("plain")
    cases = []
    for number in range(4):
        split = ("train", "train", "validation", "test")[number]
        for label, name in enumerate(("healthy", "pathological")):
            image, lesions = folder / f"{name}-{number}.nii.gz", None
            write_image(brain_image(number), image)
            if label:
                lesions = folder / f"lesions-{number}.nii.gz"
                write_image(lesion_mask(20 + number, 40), lesions)
            who = f"{name}-{number + 1:03d}"
            cases.append(Case(who, who, label, split, {"FLAIR": image}, lesions=lesions))
    table = folder / "cohorts" / "plain" / "cohort.csv"
    write_cohort(Cohort(tuple(cases), ("FLAIR",), str(table)), table)
    return table


def test_slices_are_spread_over_those_with_lesions_and_brain():
    brain = brain_image().array > 0
    lesions = lesion_mask(20, 40).array > 0
    found = chosen_slices(lesions, [brain, brain], 4)
    assert len(found) == len(set(found)) == 4
    assert all(20 <= k < 40 for k in found)
    assert min(np.diff(found)) >= 3
    # A partner whose head ends lower leaves the slices above out.
    partner = brain.copy()
    partner[:, :, 30:] = False
    assert max(chosen_slices(lesions, [partner, brain], 4)) < 30
    assert chosen_slices(lesion_mask(20, 22).array > 0, [brain, brain], 4) == [20, 21]


def test_partners_show_the_same_slices_and_stay_in_their_split(plain, tmp_path):
    cohort = read_cohort(as_slices(plain, tmp_path, 3))
    assert len(cohort.cases) == 4 * 2 * 3
    by_patient = {case.patient: case.split for case in read_cohort(plain).cases}
    slices = {}
    for case in cohort.cases:
        assert case.split == by_patient[case.patient]
        slices.setdefault((case.split, case.label), []).append(case.slice)
    for split in ("train", "validation", "test"):
        assert slices[split, 0] == slices[split, 1]
    assert chosen_pairs(plain, tmp_path / "few.csv", {"train": 1, "test": 1}).is_file()
    few = read_cohort(tmp_path / "few.csv")
    assert [(c.split, c.label) for c in few.cases] == [
        *(("train", 0), ("train", 1)),
        *(("test", 0), ("test", 1)),
    ]


def test_contrast_is_the_lesions_over_the_rest(plain, tmp_path):
    def halved(case, image):
        array = image.array.astype(np.float32)
        if case.lesions is not None:
            lesions = read_image(case.lesions).array != 0
            array[lesions] *= 2
        return image.with_array(array)

    brighter = derived(plain, tmp_path / "brighter", halved)
    rows = contrasts(plain, brighter, tmp_path / "contrast.json")
    assert len(rows) == 4
    for row in rows:
        assert 1 + row["after"] == pytest.approx(2 * (1 + row["before"]))


def test_a_coarse_image_covers_the_same_brain():
    image = brain_image()
    found = coarser(image, 2)
    assert found.geometry.spacing == (4, 4, 4)
    # The first block's centre lies between the first two voxels.
    np.testing.assert_allclose(found.geometry.to_lps([0, 0, 0]), GRID.to_lps([0.5, 0.5, 0.5]))
    assert found.array.sum() * 8 == pytest.approx(image.array.sum(), rel=1e-5)
    assert (found.array > 0).sum() * 8 == (image.array > 0).sum()
    assert coarser(image, 1) is image
    # The rim is the mean of the brain's voxels in a block, not of the background's.
    odd = np.zeros(GRID.size, np.int16)
    odd[21:70, 20:80, 10:80] = 100
    assert set(np.unique(coarser(Image(odd, GRID), 2).array)) == {0, 100}
    mask = lesion_mask(20, 40)
    np.testing.assert_allclose(coarser_mask(mask, 2).array.sum() * 8, mask.array.sum(), rtol=0.1)


def test_marks_are_where_they_are_looked_for(plain, tmp_path):
    marked = read_cohort(derived(plain, tmp_path / "marked", with_mark(0.5, 1), factor=2))
    bare = read_cohort(derived(plain, tmp_path / "bare", factor=2))
    for with_it, without in zip(marked.cases, bare.cases, strict=True):
        a, b = (read_image(case.channels["FLAIR"]).array for case in (with_it, without))
        where = mark_voxels(2, a.shape)
        np.testing.assert_array_equal(a[~where], b[~where])
        assert (a[where] != b[where]).any() == (with_it.label == 1)
    np.testing.assert_array_equal(mark_voxels(1, GRID.size), corner_mark(GRID.size, 2.0))


def test_a_redrawn_case_is_that_of_a_whole_cohort(plain, tmp_path):
    options = {"scanner_signature": -0.5}
    whole = simulate_cohort(
        tmp_path / "whole", healthy=1, pathological=0, lesions="tumour", **options
    )
    case = next(c for c in read_cohort(plain).cases if c.case == "healthy-001")
    expected = read_image(whole.parent / "images" / "healthy-001.nii.gz")
    np.testing.assert_array_equal(redrawn(options)(case, None).array, expected.array)


def test_alphas_come_from_the_models_that_were_searched(tmp_path):
    recipes = {"None": {"constraint": "none"}, "Ross, found": {"alpha": "auto"}}
    for version, alpha in (("before", 0.12), ("after", 0.0001)):
        for seed in (0, 1):
            recipe = AttributionRecipe(width=0.05, constraint="ross", alpha=alpha * (1 + seed))
            network = recipe.build(in_channels=1, dimensions=3)
            thresholds = {"attribution": Threshold(0.0, USER)}
            save_bundle(
                Bundle(recipe, network, ("FLAIR",), 3, GRID, thresholds),
                tmp_path / version / "models" / f"ross-found-{seed}",
            )
    found = found_alphas(tmp_path, {"recipes": recipes, "seeds": [0, 1]}, ("before", "after"))
    assert found["before"] == {"Ross, found": pytest.approx([0.12, 0.24])}
    text = alphas_text(found, {"before": "first", "after": "then"})
    assert text.endswith("Ross, found: 0.12 and 0.24 first, 0.0001 and 0.0002 then.")
