import pytest
import torch
from AttribSegLib.errors import InputError
from AttribSegLib.networks.input_check import require_input


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
