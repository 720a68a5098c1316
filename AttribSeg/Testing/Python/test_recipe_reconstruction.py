"""What all recipes that reconstruct healthy images have in common."""

import json

import pytest
import torch
from AttribSegLib.errors import InputError
from AttribSegLib.networks.reconstruction import ReconstructionNetwork
from AttribSegLib.recipes import recipe_from_dict
from safetensors.torch import load, save

NAMES = ("autoencoder", "variational_autoencoder", "silva_rodriguez", "f_anogan")
SIZE = (29, 22)


def recipe_of(name):
    return recipe_from_dict({"recipe": name, "filters": [4, 8], "strides": [2, 2], "latent": 3})


def built(recipe, seed=0):
    torch.manual_seed(seed)
    return recipe.build(in_channels=1, dimensions=2, size=SIZE)


@pytest.mark.parametrize("name", NAMES)
def test_state_goes_through_safetensors_and_the_offset_shifts_scores(name):
    recipe = recipe_of(name)
    network, other = built(recipe), built(recipe, seed=1)
    x = torch.randn(2, 1, *SIZE)
    before = network(x).detach()
    assert not torch.equal(before, other(x))
    recipe.calibrate(network, [0.0, 1.0], [0, 1])
    torch.testing.assert_close(network(x).detach(), before - 0.5)
    other.load_state_dict(load(save(network.state_dict())))
    for found, expected in zip(recipe.explain(other, x), recipe.explain(network, x), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_common_ground(name):
    recipe = recipe_of(name)
    assert recipe.selection == "reconstruction"
    assert not recipe.needs_references
    assert recipe.masked_patients == 0
    assert recipe_from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert recipe.varied(latent=5).latent == 5
    assert isinstance(built(recipe), ReconstructionNetwork)
    assert built(recipe).channels == recipe.scaled_filters
    with pytest.raises(InputError, match="size None"):
        recipe.build(in_channels=1, dimensions=2)


def test_the_base_reconstructs_nothing_itself():
    with pytest.raises(TypeError, match="abstract"):
        ReconstructionNetwork(dimensions=2, in_channels=1, size=SIZE)
