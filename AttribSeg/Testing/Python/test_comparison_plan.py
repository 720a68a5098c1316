import pytest
from AttribSegLib.comparison.plan import Plan, slug
from AttribSegLib.errors import InputError

RECIPES = {"Unsup, G": {"constraint": "unsup"}, "AE": {"recipe": "autoencoder"}}


def test_common_parameters_are_shared_unless_a_recipe_says_otherwise():
    recipes = {**RECIPES, "None": {"constraint": "none", "epochs": 3}}
    plan = Plan.from_dict({"recipes": recipes, "common": {"epochs": 7, "width": 0.5}})
    assert [recipe.epochs for recipe in plan.recipes.values()] == [7, 7, 3]
    assert {recipe.width for recipe in plan.recipes.values()} == {0.5}
    assert plan.reference == "Unsup, G"
    assert plan.recipes["AE"].name == "autoencoder"


def test_everything_that_a_file_may_say():
    plan = Plan.from_dict(
        {
            "title": "T",
            "recipes": RECIPES,
            "seeds": [3, 1],
            "inference": ["gradient", "lrp_epsilon", "gradient"],
            "post_processing": ["labels", "masks"],
            "reference": "AE",
            "references": 5,
            "examples": 0,
            "allowance": {"ml": 2},
            "sweep": {"recipe": "Unsup, G", "alphas": [0.1, 1], "cohorts": {"2 mm": None}},
        }
    )
    assert plan.seeds == (3, 1)
    assert plan.inference == ("gradient", "lrp_epsilon")
    assert (plan.allowance.ml, plan.allowance.fraction) == (2.0, 0.005)
    assert plan.sweep is not None
    assert plan.sweep.cohorts == {"2 mm": None}
    assert plan.sweep.alphas == (0.1, 1.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], '"recipes"'),
        ({"recipes": {}}, "at least one"),
        ({"recipes": {"A": 1}}, "recipe 'A': its parameters"),
        ({"recipes": {"A": {"alhpa": 1}}}, "recipe 'A': recipe parameter 'alhpa'"),
        ({"recipes": {"A b": {}, "a-B": {}}}, "too much alike"),
        ({"recipes": RECIPES, "common": {"alpha": 1}}, "'alpha' is not shared"),
        ({"recipes": RECIPES, "budget": 1}, "'budget' is unknown"),
        ({"recipes": RECIPES, "seeds": [1, 1]}, "different numbers"),
        ({"recipes": RECIPES, "seeds": 3}, "different numbers"),
        ({"recipes": RECIPES, "seeds": [True]}, "different numbers"),
        ({"recipes": RECIPES, "references": True}, "references True"),
        ({"recipes": RECIPES, "allowance": {"ml": float("nan")}}, "allowance"),
        ({"recipes": RECIPES, "sweep": {}}, "were expected"),
        ({"recipes": RECIPES, "common": {"learning_rate": 1}}, "'learning_rate' is not shared"),
        (
            {"recipes": RECIPES, "sweep": {"recipe": "Unsup, G", "alphas": [float("nan")]}},
            "positive",
        ),
        ({"recipes": RECIPES, "inference": ["grad"]}, "inference"),
        ({"recipes": RECIPES, "post_processing": ["none"]}, "post_processing"),
        ({"recipes": RECIPES, "reference": "B"}, "reference 'B'"),
        ({"recipes": RECIPES, "references": 0}, "references 0"),
        ({"recipes": RECIPES, "allowance": {"litres": 1}}, "allowance"),
        ({"recipes": RECIPES, "sweep": {"recipe": "AE", "alphas": [1]}}, "with an alpha"),
        ({"recipes": RECIPES, "sweep": {"recipe": "Unsup, G", "alphas": [0]}}, "positive"),
        ({"recipes": RECIPES, "sweep": {"alphas": [1]}}, "were expected"),
    ],
)
def test_faults_are_named(content, message):
    with pytest.raises(InputError, match=message):
        Plan.from_dict(content)


def test_an_entry_may_have_attributions_of_its_own():
    recipes = {**RECIPES, "None": {"constraint": "none", "inference": ["gradient", "grad_cam"]}}
    plan = Plan.from_dict({"recipes": recipes, "inference": ["gradient"]})
    assert plan.methods("None") == ("gradient", "grad_cam")
    assert plan.methods("Unsup, G") == ("gradient",)
    assert "inference" not in plan.recipes["None"].to_dict()
    with pytest.raises(InputError, match="recipe 'A': inference"):
        Plan.from_dict({"recipes": {"A": {"inference": ["grad"]}}})


def test_paths_are_relative_to_the_file(tmp_path):
    sweep = {"recipe": "Unsup, G", "alphas": [1], "cohorts": {"1 mm": "a/cohort.csv"}}
    plan = Plan.from_dict({"recipes": RECIPES, "sweep": sweep}, folder=tmp_path)
    assert plan.sweep is not None
    assert plan.sweep.cohorts == {"1 mm": tmp_path / "a" / "cohort.csv"}


def test_alpha_may_be_searched():
    plan = Plan.from_dict({"recipes": {"A": {"alpha": "auto"}, "B": {"alpha": 2}}})
    assert plan.searched == {"A"}
    assert plan.recipes["B"].alpha == 2


def test_slugs_fit_into_file_names():
    assert slug("Unsup + IG / (zero)") == "unsup-ig-zero"
    assert slug("***") == "recipe"
