"""How recipes are found: by name, in a register and in what installed packages offer."""

import sys

import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.recipes import REGISTER, recipe_from_dict

GUEST = """
from dataclasses import dataclass
from typing import ClassVar

from AttribSegLib.recipes.options import TrainingOptions


@dataclass(frozen=True)
class Guest(TrainingOptions):
    name: ClassVar[str] = "guest"
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package with entry points, as an installer would leave it."""
    (tmp_path / "attribseg_recipes.py").write_text(GUEST, encoding="utf-8")
    folder = tmp_path / "attribseg_recipes-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: attribseg-recipes\nVersion: 1\n", encoding="utf-8"
    )
    (folder / "entry_points.txt").write_text(
        "[attribseg.recipes]\n"
        "guest = attribseg_recipes:Guest\n"
        "broken = attribseg_no_such_module:Recipe\n"
        "attribution = attribseg_recipes:Guest\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("attribseg_recipes", None)
    REGISTER.pop("guest", None)


def test_a_package_can_offer_a_recipe(installed):
    recipe = recipe_from_dict({"recipe": "guest", "epochs": 3})
    assert (type(recipe).__name__, recipe.epochs) == ("Guest", 3)


def test_what_is_broken_elsewhere_does_not_matter(installed):
    assert type(recipe_from_dict({"recipe": "attribution"})).__name__ == "AttributionRecipe"
    assert type(recipe_from_dict({})).__name__ == "AttributionRecipe"
    with pytest.raises(InputError, match="'broken': attribseg_no_such_module"):
        recipe_from_dict({"recipe": "broken"})


@pytest.mark.parametrize("name", ["nothing", "MonotoneNetLib.recipe:MonotoneRecipe", 3, ["a"]])
def test_unknown_names_are_refused_with_the_known_ones(name):
    with pytest.raises(InputError, match="attribution, autoencoder"):
        recipe_from_dict({"recipe": name})
