"""The card of a bundle says what the bundle itself would say, without loading it."""

import json
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from AttribSegLib.bundle import load_bundle, save_bundle
from AttribSegLib.bundle_card import read_card
from AttribSegLib.errors import InputError
from AttribSegLib.map_processing import MapProcessing
from AttribSegLib.thresholds import (
    FALSE_POSITIVE_FRACTION,
    PRECISION_RECALL,
    Threshold,
)

DEMO = Path(__file__).resolve().parents[3] / "Resources" / "DemoBundle"


class Text(HTMLParser):
    """The words of a page, and whether its tags are closed in order."""

    def __init__(self, html):
        super().__init__()
        self.words, self.open = "", []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def edit(folder, change):
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def agrees(card, bundle):
    assert card.channels == bundle.channels
    assert card.map_channels == bundle.map_channels
    assert card.dimensions == bundle.dimensions
    assert card.recipe == bundle.recipe.name
    assert card.threshold == bundle.detection_threshold.value
    assert card.threshold_rule == bundle.detection_threshold.rule
    assert card.certified == bool(bundle.certificate)
    assert card.processing == bundle.detection_processing.describe()
    spacing = bundle.geometry.spacing[: bundle.dimensions]
    assert card.spacing_mm == (None if bundle.geometry.nominal else spacing)
    return True


def test_the_demonstration_bundle():
    card = read_card(DEMO)
    assert agrees(card, load_bundle(DEMO))
    assert card.name == "DemoBundle"
    assert card.spacing_mm == (2.0, 2.0, 2.0)
    assert not card.certified
    assert set(card.metrics) == {"loss", "accuracy", "tpr", "tnr", "auroc"}
    assert card.trained_on == (
        "36 healthy and 36 pathological volumes of 72 patients; "
        "validated on 12 healthy and 12 pathological volumes of 24 patients"
    )
    words = Text(card.as_html()).words
    for part in ("FLAIR", "2 x 2 x 2 mm", "72 patients", "true positive rate 1", "5 mL"):
        assert part in words


def test_reading_a_card_loads_neither_torch_nor_images():
    code = (
        "import sys; from AttribSegLib.bundle_card import read_card; "
        f"read_card({str(DEMO)!r}).as_html(); "
        "print(*sorted({m.split('.')[0] for m in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, encoding="utf-8"
    )
    assert not set(done.stdout.split()) & {"torch", "monai", "SimpleITK", "scipy", "matplotlib"}


def test_a_monotone_bundle_is_certified_and_maps_its_features(tmp_path, tiny_bundle):
    torch = pytest.importorskip("torch")
    from MonotoneNetLib.recipe import MonotoneRecipe

    recipe = MonotoneRecipe(width=0.05, strides=(2, 1, 1, 1), features=5)
    torch.manual_seed(0)
    network = recipe.build(in_channels=2, dimensions=3).eval()
    model = tiny_bundle(channels=("FLAIR", "T1"))
    bundle = replace(
        model,
        recipe=recipe,
        network=network,
        certificate=recipe.certificate(network),
        reduction="mean",
    )
    save_bundle(bundle, tmp_path / "m")
    card = read_card(tmp_path / "m")
    assert agrees(card, bundle)
    assert agrees(card, load_bundle(tmp_path / "m"))
    assert card.certified
    assert card.map_channels == tuple(f"feature{n}" for n in range(1, 6))
    words = Text(card.as_html()).words
    assert "certified monotone" in words
    assert "feature1 to feature5" in words


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("nominal", [False, True])
def test_spacing_and_kind(tmp_path, tiny_bundle, dimensions, nominal):
    bundle = tiny_bundle(dimensions=dimensions)
    bundle = replace(bundle, geometry=replace(bundle.geometry, nominal=nominal))
    save_bundle(bundle, tmp_path / "b")
    card = read_card(tmp_path / "b")
    assert agrees(card, bundle)
    words = Text(card.as_html()).words
    assert ("slice by slice" in words) == (dimensions == 2)
    assert ("voxel size unknown" in words) == nominal
    # An untrained bundle has no figures, and says so.
    assert card.metrics == {}
    assert card.trained_on == ""
    assert "not recorded" in words


def test_the_threshold_is_that_of_the_processed_map_where_there_is_one(tmp_path, tiny_bundle):
    bundle = tiny_bundle(threshold=0.25)
    detail = {"allowed_fraction": 0.015}
    bundle.thresholds["attribution, post-processed"] = Threshold(
        0.75, FALSE_POSITIVE_FRACTION, detail, "healthy validation images"
    )
    bundle = replace(bundle, processing={"attribution": MapProcessing(smoothing_mm=2)})
    save_bundle(bundle, tmp_path / "b")
    card = read_card(tmp_path / "b")
    assert agrees(card, bundle)
    assert card.threshold == 0.75
    words = Text(card.as_html()).words
    assert "smoothed by 2 mm" in words
    assert "0.015 of the brain" in words


def test_mask_tuned_thresholds_are_named_as_such(tmp_path, tiny_bundle):
    bundle = tiny_bundle()
    bundle.thresholds["attribution"] = Threshold(0.5, PRECISION_RECALL)
    save_bundle(bundle, tmp_path / "b")
    assert "tuned on masks" in Text(read_card(tmp_path / "b").as_html()).words


def test_text_of_the_bundle_is_no_markup(tmp_path, tiny_bundle):
    save_bundle(replace(tiny_bundle(), description="T1 < FLAIR & <b>more"), tmp_path / "a&b")
    card = read_card(tmp_path / "a&b")
    words = Text(card.as_html()).words
    assert "T1 < FLAIR & <b>more" in words
    assert "a&b" in words


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c.pop("channels"), "'channels'"),
        (lambda c: c.update(channels="FLAIR"), "'channels'"),
        (lambda c: c.update(channels=[]), "'channels'"),
        (lambda c: c.pop("recipe"), "'recipe'"),
        (lambda c: c.update(recipe={}), "'recipe'"),
        (lambda c: c.update(dimensions=None), "'dimensions'"),
        (lambda c: c["geometry"].pop("spacing"), "'geometry'"),
        (lambda c: c.update(thresholds={}), "'attribution'"),
        (lambda c: c["thresholds"]["attribution"].pop("rule"), "threshold"),
        (lambda c: c.update(processing=3), "'processing'"),
        (lambda c: c.update(record=[1]), "'record'"),
        (lambda c: c.pop("schema_version"), "schema_version"),
        (lambda c: c.update(schema_version=99), "update AttribSeg"),
    ],
)
def test_what_is_missing_is_named(tmp_path, tiny_bundle, change, named):
    folder = tmp_path / "b"
    save_bundle(tiny_bundle(), folder)
    edit(folder, change)
    with pytest.raises(InputError, match=named) as error:
        read_card(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_folders_that_are_no_bundles(tmp_path):
    with pytest.raises(InputError, match="no such bundle folder"):
        read_card(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no config\.json"):
        read_card(tmp_path)
    (tmp_path / "training").mkdir()
    with pytest.raises(InputError, match="resume it"):
        read_card(tmp_path)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="not readable as JSON"):
        read_card(tmp_path)
