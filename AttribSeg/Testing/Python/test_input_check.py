import pytest
import torch
from AttribSegLib.errors import InputError
from AttribSegLib.networks.input_check import require_input, require_kind


def test_images_that_fit_pass():
    require_input(torch.zeros(2, 3, 8, 9), dimensions=2, in_channels=3, minimum_size=8)
    require_input(torch.zeros(1, 1, 4, 4, 4), dimensions=3, in_channels=1)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 8, 9), r"\(B, 3, ...\) with 2 spatial axes"),
        ((2, 3, 8, 9, 9), "with 2 spatial axes"),
        ((2, 1, 8, 9), r"shape \(2, 1, 8, 9\)"),
        ((2, 3, 9, 7), r"\(9, 7\) voxels: at least 8"),
    ],
)
def test_others_are_refused(shape, message):
    with pytest.raises(InputError, match=message):
        require_input(torch.zeros(shape), dimensions=2, in_channels=3, minimum_size=8)


@pytest.mark.parametrize(("dimensions", "in_channels"), [(2, 1), (3, 4)])
def test_networks_for_slices_and_volumes_pass(dimensions, in_channels):
    require_kind(dimensions, in_channels)


@pytest.mark.parametrize(
    ("dimensions", "in_channels", "message"),
    [(1, 1, "dimensions 1: 2 or 3"), (4, 1, "dimensions 4"), (2, 0, "in_channels 0: at least 1")],
)
def test_other_networks_are_refused(dimensions, in_channels, message):
    with pytest.raises(InputError, match=message):
        require_kind(dimensions, in_channels)
