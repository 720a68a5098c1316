import itertools
from dataclasses import replace

import AttribSegLib.cases as cases_module
import numpy as np
import pytest
from AttribSegLib.cases import (
    CaseLoader,
    PreparedCase,
    common_grid,
    crop_to_brains,
    iterate_cases,
    load_cases,
    prepare_channels,
)
from AttribSegLib.cohort import Case, read_cohort
from AttribSegLib.errors import CohortError, InputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.image_io import write_image

SIZE = (12, 10, 8)
GRID = Geometry(SIZE, (1.0, 2.0, 3.0), (-5.0, 4.0, 7.0))
ORIENTATIONS = [
    "".join(codes)
    for axes in itertools.permutations(("LR", "PA", "SI"))
    for codes in itertools.product(*axes)
]


def volume(seed=0, grid=GRID):
    """A brain that differs along every axis, on a background of zero."""
    rng = np.random.default_rng(seed)
    places = np.meshgrid(*[np.linspace(-1, 1, n) for n in grid.size], indexing="ij")
    brain = sum(place**2 for place in places) < 0.9
    trend = 100 + 20 * places[0] + 30 * places[1] + 40 * places[2]
    array = np.where(brain, trend + rng.normal(0, 3, grid.size), 0).astype(np.float32)
    return Image(array, grid)


def case_of(folder, *, name="a", label=1, **options):
    channels = options.pop("channels", {"FLAIR": folder / "flair.nii.gz"})
    return Case(name, f"p{name}", label, "train", channels, **options)


@pytest.fixture
def folder(tmp_path):
    image = volume()
    write_image(image, tmp_path / "flair.nii.gz")
    write_image(image.with_array(2 * image.array + 5), tmp_path / "t1.nii.gz")
    brain = image.array > 80
    write_image(image.with_array(brain), tmp_path / "brain.nii.gz")
    write_image(image.with_array(image.array > 150), tmp_path / "lesions.nii.gz")
    return tmp_path


def test_channels_are_standardised_over_the_brain(folder):
    image = volume()
    array, brain, grid = prepare_channels({"FLAIR": image}, None, background=-3.0)
    np.testing.assert_array_equal(brain, image.array != 0)
    assert grid == GRID
    assert array.shape == (1, *SIZE)
    assert array.dtype == np.float32
    assert array[0][brain].mean(dtype=float) == pytest.approx(0, abs=1e-6)
    assert array[0][brain].std(dtype=float) == pytest.approx(1, abs=1e-6)
    assert (array[0][~brain] == -3).all()


def test_a_brain_mask_wins_over_the_background(folder):
    case = case_of(folder, brain=folder / "brain.nii.gz")
    prepared = CaseLoader()(case)
    np.testing.assert_array_equal(prepared.brain, volume().array > 80)
    assert (prepared.array[0][~prepared.brain] == 0).all()


def test_channels_keep_the_order_of_the_table(folder):
    paths = {"T1": folder / "t1.nii.gz", "FLAIR": folder / "flair.nii.gz"}
    brain = folder / "brain.nii.gz"
    both = CaseLoader()(case_of(folder, channels=paths, brain=brain))
    alone = CaseLoader()(case_of(folder, brain=brain))
    assert both.array.shape == (2, *SIZE)
    np.testing.assert_array_equal(both.array[1], alone.array[0])
    # An affine map of the intensities is undone by the standardisation.
    np.testing.assert_allclose(both.array[0], both.array[1], atol=1e-5)


@pytest.mark.parametrize("label", [0, 1])
def test_lesions(folder, label):
    without = CaseLoader()(case_of(folder, label=label))
    if label:
        assert without.lesions is None
    else:
        assert not without.lesions.any()
        assert without.lesions.shape == SIZE
    prepared = CaseLoader()(case_of(folder, lesions=folder / "lesions.nii.gz"))
    np.testing.assert_array_equal(prepared.lesions, volume().array > 150)


def test_volumes_keep_their_own_orientation(folder):
    image = volume().reorient("IAR")
    write_image(image, folder / "turned.nii.gz")
    prepared = CaseLoader()(case_of(folder, channels={"FLAIR": folder / "turned.nii.gz"}))
    assert prepared.geometry == image.geometry
    np.testing.assert_array_equal(prepared.brain, image.array != 0)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_slice_is_the_same_whatever_the_files_orientation(folder, orientation):
    """Slices are counted from the lowest one, and their first two axes run to L and P."""
    turned = {}
    for name in ("flair", "brain", "lesions"):
        image = volume() if name == "flair" else volume().with_array(volume().array > 120)
        turned[name] = folder / f"turned_{name}.nii.gz"
        write_image(image.reorient(orientation), turned[name])
    case = case_of(folder, channels={"FLAIR": turned["flair"]}, slice=5)
    case = replace(case, brain=turned["brain"], lesions=turned["lesions"])
    prepared = CaseLoader()(case)
    array, brain, _ = prepare_channels(
        {"FLAIR": volume()}, volume().with_array(volume().array > 120)
    )
    np.testing.assert_array_equal(prepared.array, array[:, :, :, 5:6])
    np.testing.assert_array_equal(prepared.brain, brain[:, :, 5:6])
    np.testing.assert_array_equal(prepared.lesions, brain[:, :, 5:6])
    assert prepared.geometry.size == (*SIZE[:2], 1)
    assert prepared.geometry.same_grid(volume().axial_slice(5).geometry)


def test_slices_are_checked_as_they_are_loaded(folder):
    """A table's check looks at the slice that training will see, also in a file that runs down."""
    image = volume()
    array = image.array.copy()
    array[:, :, 1] = 0  # this low slice shows no brain
    write_image(Image(array, GRID).reorient("LPI"), folder / "down.nii.gz")
    table = folder / "cohort.csv"

    def read(index):
        rows = [f"a,p1,0,train,down.nii.gz,{index}", "b,p2,1,train,flair.nii.gz,4"]
        table.write_text(
            "\n".join(["case,patient,label,split,FLAIR,slice", *rows]) + "\n", encoding="utf-8"
        )
        return read_cohort(table)

    with pytest.raises(CohortError, match="constant in slice 1"):
        read(1)
    assert len(read(SIZE[2] - 2).cases) == 2


def test_slices_share_the_statistics_of_their_volume(folder):
    cases = [case_of(folder, name=str(k), slice=k) for k in (2, 5)]
    whole = CaseLoader()(case_of(folder)).array
    for prepared in load_cases(cases):
        k = prepared.case.slice
        np.testing.assert_array_equal(prepared.array[..., 0], whole[..., k])
        inside = prepared.array[0][prepared.brain]
        assert abs(inside.mean()) > 0.1  # not standardised on their own


def test_a_volume_is_read_once_for_all_its_slices(folder, monkeypatch):
    write_image(volume(1), folder / "other.nii.gz")
    read = []
    original = cases_module.read_image

    def counting(path, **options):
        read.append(path.name)
        return original(path, **options)

    monkeypatch.setattr(cases_module, "read_image", counting)
    other = {"FLAIR": folder / "other.nii.gz"}
    cases = [
        case_of(folder, name=f"{k}{bool(channels)}", slice=k, **channels)
        for k in (4, 3)
        for channels in ({}, {"channels": other})
    ]
    done = []
    loaded = load_cases(cases, on_done=done.append)
    assert [prepared.case for prepared in loaded] == cases
    assert sorted(read) == ["flair.nii.gz", "other.nii.gz"]
    assert done == [1, 2, 3, 4]
    for found, expected in zip(iterate_cases(cases), loaded, strict=True):
        np.testing.assert_array_equal(found.array, expected.array)


def test_the_volume_behind_a_slice_is_not_changed_through_it(folder):
    loader = CaseLoader()
    first = loader(case_of(folder, slice=4))
    expected = first.array.copy()
    first.array[:] = 7
    first.brain[:] = False
    np.testing.assert_array_equal(loader(case_of(folder, slice=4)).array, expected)


def test_a_healthy_and_a_pathological_slice_of_one_volume(folder):
    """Slices without tumour of a patient's volume are its healthy class."""
    loader = CaseLoader()
    assert loader(case_of(folder, label=1, slice=4)).lesions is None
    healthy = loader(case_of(folder, label=0, slice=3))
    assert healthy.lesions is not None
    assert not healthy.lesions.any()
    assert loader(case_of(folder, label=1, slice=4)).lesions is None


@pytest.mark.parametrize("what", ["t1", "brain", "lesions"])
def test_other_grids_are_refused_with_the_name_of_the_case(folder, what):
    moved = replace(GRID, origin=(-4.0, 4.0, 7.0))
    path = folder / "moved.nii.gz"
    write_image(Image(volume().array, moved), path)
    options = {
        "t1": {"channels": {"FLAIR": folder / "flair.nii.gz", "T1": path}},
        "brain": {"brain": path},
        "lesions": {"lesions": path},
    }
    with pytest.raises(InputError, match=r"^case a: .*grid"):
        CaseLoader()(case_of(folder, **options[what]))


def test_other_errors_name_the_case_too(folder):
    with pytest.raises(InputError, match=r"^case a: .*no such file"):
        CaseLoader()(case_of(folder, channels={"FLAIR": folder / "missing.nii.gz"}))
    with pytest.raises(InputError, match=r"^case a: slice 8: .* 0 to 7"):
        CaseLoader()(case_of(folder, slice=8))
    write_image(volume().with_array(np.full(SIZE, 3.0)), folder / "flat.nii.gz")
    with pytest.raises(InputError, match=r"^case a: the brain is empty"):
        CaseLoader()(case_of(folder, channels={"FLAIR": folder / "flat.nii.gz"}))


def prepared_on(grid, *, name="a", slice=None):
    case = Case(name, name, 0, "train", {}, slice=slice)
    zeros = np.zeros(grid.size, dtype=bool)
    return PreparedCase(case, zeros[None].astype(np.float32), zeros, None, grid)


def test_common_grid_of_volumes():
    close = replace(GRID, origin=(-5.0, 4.001, 7.0))
    assert common_grid([prepared_on(GRID), prepared_on(close)]).same_grid(GRID)
    for other in (
        replace(GRID, origin=(-5.0, 4.5, 7.0)),
        replace(GRID, spacing=(1.0, 2.0, 3.1)),
        replace(GRID, size=(12, 10, 9)),
    ):
        with pytest.raises(InputError, match=r"case b: grid .* differs from case a"):
            common_grid([prepared_on(GRID), prepared_on(other, name="b")])


def test_common_grid_of_slices_is_their_size():
    first = prepared_on(Geometry((12, 10, 1)), slice=3)
    elsewhere = Geometry((12, 10, 1), (0.9, 0.9, 5.0), (1.0, 2.0, 3.0))
    assert common_grid([first, prepared_on(elsewhere, slice=9)]) == first.geometry
    with pytest.raises(InputError, match="case b"):
        common_grid([first, prepared_on(Geometry((10, 12, 1)), name="b", slice=1)])


def test_common_grid_is_nominal_as_soon_as_one_case_is():
    nominal = replace(GRID, nominal=True)
    assert not common_grid([prepared_on(GRID), prepared_on(GRID)]).nominal
    assert common_grid([prepared_on(GRID), prepared_on(nominal)]).nominal
    assert common_grid([prepared_on(nominal), prepared_on(GRID)]).nominal


def test_volumes_and_slices_do_not_mix():
    volume_case = prepared_on(Geometry((12, 10, 1)))
    slice_case = prepared_on(Geometry((12, 10, 1)), name="b", slice=0)
    for pair in ([volume_case, slice_case], [slice_case, volume_case]):
        with pytest.raises(InputError, match="slices and volumes"):
            common_grid(pair)


def test_the_same_image_with_other_masks_is_another_volume(folder):
    loader = CaseLoader()
    plain = loader(case_of(folder))
    masked = loader(case_of(folder, brain=folder / "brain.nii.gz"))
    assert masked.brain.sum() < plain.brain.sum()
    assert loader(case_of(folder, lesions=folder / "lesions.nii.gz")).lesions.any()
    assert loader(case_of(folder)).lesions is None


def test_crop_keeps_every_brain_at_its_place():
    grid = Geometry((90, 70, 100), (2.0, 2.0, 2.0), (-90.0, 126.0, -72.0), np.diag([1.0, -1, 1]))
    rng = np.random.default_rng(0)
    cases = []
    for number, corner in enumerate([(10, 20, 5), (20, 15, 12)]):
        brain = np.zeros(grid.size, dtype=bool)
        brain[tuple(slice(c, c + 30) for c in corner)] = True
        array = np.where(brain, rng.normal(size=grid.size), -3.0).astype(np.float32)[None]
        case = Case(str(number), str(number), number, "train", {})
        cases.append(PreparedCase(case, array, brain, brain.copy(), grid))
    cropped = crop_to_brains(cases, margin=2)
    # Box of both brains with its margin, but no axis under 64 voxels.
    assert cropped[0].geometry.size == (64, 64, 64)
    for before, after in zip(cases, cropped, strict=True):
        assert after.geometry.same_grid(cropped[0].geometry)
        assert after.brain.sum() == before.brain.sum()
        assert after.lesions.sum() == before.lesions.sum()
        places = [c.geometry.to_lps(np.argwhere(c.brain)[0]) for c in (before, after)]
        np.testing.assert_allclose(*places)
        np.testing.assert_array_equal(after.array[0][after.brain], before.array[0][before.brain])


def test_crop_of_a_full_grid_changes_nothing():
    grid = Geometry((40, 40, 40))
    brain = np.ones(grid.size, dtype=bool)
    case = PreparedCase(Case("a", "a", 0, "train", {}), np.ones((1, *grid.size)), brain, None, grid)
    (same,) = crop_to_brains([case])
    assert same.geometry.same_grid(grid)
