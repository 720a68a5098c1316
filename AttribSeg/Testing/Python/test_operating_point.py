"""Post-processing and thresholds are chosen on validation images, and then really used."""

import json
from dataclasses import replace

import numpy as np
import pytest
from AttribSegLib.bundle import Bundle, load_bundle, save_bundle
from AttribSegLib.cases import PreparedCase
from AttribSegLib.cohort import Case
from AttribSegLib.detection import detect, write_detection
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.image_io import read_image
from AttribSegLib.inference import Prediction, predict_volume
from AttribSegLib.lesions import label_lesions
from AttribSegLib.map_processing import RAW, MapProcessing, smooth, times_input
from AttribSegLib.operating_point import (
    Allowance,
    ValidationMaps,
    choose_operating_point,
    choose_processing,
    choose_reduction,
    post_process,
    validation_maps,
)
from AttribSegLib.recipes.options import TrainingOptions
from AttribSegLib.thresholds import (
    FALSE_POSITIVE_FRACTION,
    FALSE_POSITIVE_VOLUME,
    PRECISION_RECALL,
    USER,
    Threshold,
)

SIZE = (16, 14, 12)
GRID = Geometry(SIZE, (2.0, 2.0, 2.0))  # a voxel is 0.008 mL
NOMINAL = Geometry(SIZE, (1.0, 1.0, 1.0), nominal=True)
ALLOWED = Allowance(0.08, 0.01)
SMOOTHED = MapProcessing(smoothing_mm=4.0)
POSITIVE = MapProcessing(positive=True, smoothing_mm=4.0)


def brain():
    places = np.meshgrid(*[np.linspace(-1, 1, n) for n in SIZE], indexing="ij")
    return sum(place**2 for place in places) < 0.9


def prepared(number, *, masks=True, geometry=GRID, channels=1):
    """A case of noise; every other one has a lesion, which is not seen in its images."""
    rng = np.random.default_rng(number)
    array = rng.normal(size=(channels, *SIZE)).astype(np.float32)
    lesions = np.zeros(SIZE, dtype=bool)
    if number % 2:
        lesions[6:10, 5:9, 4:8] = True
    case = Case(f"c{number}", f"p{number}", number % 2, "validation", {})
    drawn = lesions & brain() if masks else None
    return PreparedCase(case, array * brain(), brain(), drawn, geometry)


def planted(kind, *, count=6, **options):
    """Maps in which a candidate is better than the raw map by construction."""
    cases = [prepared(number, **options) for number in range(count)]
    maps, products = [], []
    for number, case in enumerate(cases):
        rng = np.random.default_rng(100 + number)
        lesion = np.zeros(SIZE)
        if number % 2:
            lesion[6:10, 5:9, 4:8] = 1
        image = case.array[0]
        if kind == "chequered":  # a lesion under a pattern larger than it, of mean zero
            pattern = (-1.0) ** np.indices(SIZE).sum(axis=0)
            strength = (2, 3, 4)[number // 2 % 3]  # which says nothing of the class
            values = strength * pattern * (1 + 0.1 * rng.normal(size=SIZE)) + lesion
        elif kind == "raw":  # nothing to gain: a lesion on next to nothing
            values = lesion + 1e-3 * rng.normal(size=SIZE)
        else:  # the sign is that of the image where the lesion is, at random elsewhere
            image = rng.choice([-1.0, 1.0], size=SIZE).astype(np.float32)
            values = np.where(lesion > 0, image, rng.choice([-1.0, 1.0], size=SIZE))
        maps.append(values.astype(np.float32))
        products.append(times_input(values, image))
    return ValidationMaps(maps, products, cases)


@pytest.mark.parametrize("rule", ["labels", "masks"])
@pytest.mark.parametrize(
    ("kind", "best"),
    [
        ("chequered", SMOOTHED),
        ("raw", RAW),
        ("signs", MapProcessing(times_input=True, smoothing_mm=2.0)),
    ],
)
def test_the_planted_candidate_is_found(kind, best, rule):
    maps = planted(kind)
    candidates = [RAW, best] if best != RAW else [RAW, SMOOTHED, POSITIVE]
    if kind == "chequered":
        candidates.append(MapProcessing(times_input=True))
    if kind == "signs":
        candidates.append(MapProcessing(smoothing_mm=2.0))
    for order in (candidates, candidates[::-1]):
        chosen = choose_processing(maps, ALLOWED, rule=rule, candidates=order)
        if kind == "raw" and order is not candidates:
            continue  # equals: the first wins
        assert chosen == replace(best, chosen_by=rule)
    standard = choose_processing(maps, ALLOWED, rule=rule)
    assert standard.chosen_by == rule
    assert standard.does_nothing == (kind == "raw")


def test_the_first_of_equals_wins():
    maps = planted("raw")
    for candidates in ([RAW, MapProcessing(minimum_ml=0.001)], [MapProcessing(positive=True), RAW]):
        for rule in ("labels", "masks"):
            chosen = choose_processing(maps, ALLOWED, rule=rule, candidates=candidates)
            assert chosen == replace(candidates[0], chosen_by=rule)


def test_labels_need_no_masks_and_look_at_none():
    expected = choose_processing(planted("chequered"), ALLOWED, rule="labels")
    without = planted("chequered", masks=False)
    assert choose_processing(without, ALLOWED, rule="labels") == expected
    with pytest.raises(InputError, match="no pathological validation case has a lesion mask"):
        choose_processing(without, ALLOWED, rule="masks")
    assert without.tuned_threshold() is None


def test_rules():
    assert choose_processing(planted("chequered"), ALLOWED, rule="none") == RAW
    with pytest.raises(InputError, match="'tests': one of none, labels, masks"):
        choose_processing(planted("raw"), ALLOWED, rule="tests")


@pytest.mark.parametrize("processing", [RAW, SMOOTHED, POSITIVE])
@pytest.mark.parametrize("allowed", [0.0, 0.08, 0.4])
def test_label_only_thresholds_leave_the_allowed_volume(processing, allowed):
    maps = planted("chequered").processed(processing)
    threshold = maps.threshold(Allowance(allowed, 0.5))
    assert threshold.rule == FALSE_POSITIVE_VOLUME
    assert not threshold.uses_masks
    passed = [
        np.count_nonzero(threshold.mask(values) & case.brain) * 0.008
        for values, case in zip(maps.maps, maps.cases, strict=True)
        if case.case.label == 0
    ]
    # Values are all different: exactly as many voxels as fit, but for one over all cases.
    least = 0 if processing == POSITIVE else allowed - 0.008 / 3 - 1e-9
    assert least <= np.mean(passed) <= allowed + 1e-9
    if processing != POSITIVE:
        assert np.mean(passed) == pytest.approx(allowed, abs=0.008 / 3 + 1e-9)


def test_nominal_spacing_counts_in_shares_and_voxels():
    maps = planted("chequered", geometry=NOMINAL)
    threshold = maps.threshold(ALLOWED)
    assert threshold.rule == FALSE_POSITIVE_FRACTION
    shares = maps.segmented(threshold, RAW)
    assert np.mean(shares[::2]) == pytest.approx(0.01, abs=1 / (3 * brain().sum()) + 1e-9)
    chosen = choose_processing(maps, ALLOWED, rule="labels")
    assert chosen.smoothing_voxels > 0
    assert chosen.smoothing_mm == 0


def test_segmented_shares_are_of_the_brain_and_without_small_lesions():
    maps = planted("raw")
    threshold = Threshold(0.5, USER)
    lesion = np.zeros(SIZE, dtype=bool)
    lesion[6:10, 5:9, 4:8] = True
    share = np.count_nonzero(lesion & brain()) / np.count_nonzero(brain())
    assert maps.segmented(threshold, RAW) == pytest.approx([0, share] * 3)
    assert maps.segmented(threshold, MapProcessing(minimum_ml=64 * 0.008)).max() > 0
    assert maps.segmented(threshold, MapProcessing(minimum_ml=65 * 0.008)).max() == 0


class FirstRecipe(TrainingOptions):
    """A stand-in whose map is made of the channels themselves."""

    def explain(self, network, x):
        return x[:, 0].flatten(1).mean(1), x


def bundle_of(tiny_bundle, *, channels=("FLAIR",), geometry=GRID, real=False):
    bundle = tiny_bundle(
        channels=channels, geometry=geometry, filters=(8, 8), strides=(2, 1), width=1.0
    )
    return bundle if real else replace(bundle, recipe=FirstRecipe(background=0.0, clip=0.0))


def empty(bundle):
    return replace(bundle, thresholds={}, alternatives={}, processing={})


def test_the_plain_intensity_has_everything_that_the_map_has(tiny_bundle):
    bundle = empty(bundle_of(tiny_bundle, real=True))
    validation = [prepared(number) for number in range(4)]
    bundle = choose_operating_point(bundle, validation, allowance=ALLOWED, processing=SMOOTHED)
    names = ["attribution", "FLAIR intensity"]
    names += [f"{name}, post-processed" for name in names]
    assert set(bundle.thresholds) == set(bundle.alternatives) == set(names)
    chosen = replace(SMOOTHED, chosen_by="user")
    assert bundle.processing == {"attribution": chosen, "FLAIR intensity": chosen}
    assert bundle.detection_processing == chosen
    assert bundle.detection_threshold == bundle.thresholds["attribution, post-processed"]
    raw = validation_maps(bundle, validation)
    assert set(raw) == {"attribution", "FLAIR intensity"}
    np.testing.assert_array_equal(raw["FLAIR intensity"].maps[1], validation[1].array[0])
    for name, maps in raw.items():
        assert bundle.thresholds[name] == maps.threshold(ALLOWED)
        processed = maps.processed(SMOOTHED)
        by_hand = smooth(maps.maps[0], brain(), (2.0,) * 3)
        np.testing.assert_allclose(processed.maps[0], by_hand, atol=1e-7)
        assert bundle.thresholds[f"{name}, post-processed"] == processed.threshold(ALLOWED)
        tuned = bundle.alternatives[f"{name}, post-processed"]
        assert tuned == processed.tuned_threshold()
        assert tuned.rule == PRECISION_RECALL


def test_every_map_has_its_own_best_processing(tiny_bundle):
    """And where the raw map is best, it stays alone."""
    bundle = empty(bundle_of(tiny_bundle, real=True))
    validation = [prepared(number) for number in range(4)]
    bundle = choose_operating_point(bundle, validation, allowance=ALLOWED, processing="labels")
    for name, maps in validation_maps(bundle, validation).items():
        chosen = choose_processing(maps, ALLOWED, rule="labels")
        assert bundle.processing.get(name, RAW).describe() == chosen.describe()
        assert (f"{name}, post-processed" in bundle.thresholds) == (not chosen.does_nothing)


def test_without_masks_there_are_no_tuned_thresholds(tiny_bundle):
    bundle = empty(bundle_of(tiny_bundle))
    validation = [prepared(number, masks=False) for number in range(4)]
    bundle = choose_operating_point(bundle, validation, allowance=ALLOWED, processing="labels")
    assert bundle.alternatives == {}
    with pytest.raises(InputError, match="by masks"):
        choose_operating_point(empty(bundle), validation, allowance=ALLOWED, processing="masks")


def test_choosing_again_forgets_the_first_choice(tiny_bundle):
    bundle = empty(bundle_of(tiny_bundle))
    validation = [prepared(number) for number in range(4)]
    bundle = choose_operating_point(bundle, validation, allowance=ALLOWED, processing=SMOOTHED)
    without = [prepared(number, masks=False) for number in range(4)]
    bundle = choose_operating_point(bundle, without, allowance=ALLOWED)
    assert bundle.processing == {}
    assert bundle.detection_processing == RAW
    assert set(bundle.thresholds) == {"attribution", "FLAIR intensity"}
    assert bundle.alternatives == {}
    assert bundle.detection_threshold == bundle.thresholds["attribution"]


def test_a_bundle_keeps_its_processing(tiny_bundle, tmp_path):
    bundle = empty(bundle_of(tiny_bundle, real=True))
    validation = [prepared(number) for number in range(4)]
    processing = MapProcessing(positive=True, smoothing_mm=3.0, minimum_ml=0.05)
    bundle = choose_operating_point(bundle, validation, allowance=ALLOWED, processing=processing)
    save_bundle(bundle, tmp_path / "bundle")
    loaded = load_bundle(tmp_path / "bundle")
    assert isinstance(loaded, Bundle)
    assert loaded.processing == bundle.processing
    assert loaded.thresholds == bundle.thresholds
    assert loaded.alternatives == bundle.alternatives
    assert loaded.detection_processing == bundle.detection_processing
    assert loaded.detection_threshold == bundle.detection_threshold
    # A processing without the threshold that belongs to it is no bundle.
    path = tmp_path / "bundle" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    del config["thresholds"]["attribution, post-processed"]
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError, match="attribution, post-processed"):
        load_bundle(tmp_path / "bundle")


def image_of(channel=0, *, geometry=GRID):
    """Noise in the brain, a bright box of 27 voxels and a single bright voxel."""
    rng = np.random.default_rng(channel)
    array = np.where(brain(), 100 + 5 * rng.normal(size=SIZE), 0)
    array[6:9, 5:8, 4:7] += 80
    array[11, 9, 8] += 200
    return Image(array.astype(np.float32), geometry)


def test_detection_uses_the_processed_map_and_its_threshold(tiny_bundle):
    raw = bundle_of(tiny_bundle)
    images = {"FLAIR": image_of()}
    before = detect(raw, images, threshold=Threshold(2.0, USER))
    assert before.processing == RAW
    processing = MapProcessing(positive=True, smoothing_mm=2.0)
    thresholds = {
        **raw.thresholds,
        "attribution": Threshold(1e6, USER),  # of the raw map, not to be used
        "attribution, post-processed": Threshold(1.0, USER),
    }
    bundle = replace(raw, thresholds=thresholds, processing={"attribution": processing})
    found = detect(bundle, images)
    inside = images["FLAIR"].array != 0
    by_hand = smooth(np.maximum(before.attribution.array, 0), inside, (1.0,) * 3)
    np.testing.assert_allclose(found.attribution.array, by_hand, atol=1e-6)
    np.testing.assert_array_equal(found.mask.array, (found.attribution.array > 1.0) & inside)
    assert found.mask.array.any()
    assert found.threshold.value == 1.0
    assert found.processing == processing
    # Unless another one is given.
    assert detect(bundle, images, threshold=Threshold(1e5, USER)).mask.array.sum() == 0


def test_detection_drops_what_is_smaller_than_the_minimum(tiny_bundle):
    raw = bundle_of(tiny_bundle)
    images = {"FLAIR": image_of()}
    thresholds = {**raw.thresholds, "attribution, post-processed": Threshold(2.0, USER)}
    sizes = {}
    for voxels in (0.0, 1.0, 2.0, 27.0, 28.0):
        processing = MapProcessing(minimum_ml=voxels * 0.008, smoothing_mm=1e-3)
        bundle = replace(raw, thresholds=thresholds, processing={"attribution": processing})
        found = detect(bundle, images)
        sizes[voxels] = sorted(lesion.voxels for lesion in found.lesions)
        assert label_lesions(found.mask)[1] == len(found.lesions)
    assert sizes[0.0] == sizes[1.0] == [1, 27]
    assert sizes[2.0] == sizes[27.0] == [27]
    assert sizes[28.0] == []
    # The caller's own minimum comes on top.
    bundle = replace(bundle, processing={"attribution": MapProcessing(minimum_ml=0.016)})
    assert detect(bundle, images, minimum_ml=1.0).lesions == []


def test_each_channel_has_its_map_and_the_sum_is_the_combined_one(tiny_bundle, tmp_path):
    bundle = bundle_of(tiny_bundle, channels=("FLAIR", "T1"))
    images = {"T1": image_of(1), "FLAIR": image_of(0)}  # in any order
    found = detect(bundle, images, threshold=Threshold(4.0, USER))
    assert list(found.by_channel) == ["FLAIR", "T1"]
    total = sum(image.array for image in found.by_channel.values())
    np.testing.assert_allclose(found.attribution.array, total, atol=1e-6)
    assert not np.allclose(found.by_channel["FLAIR"].array, found.by_channel["T1"].array)
    inside = images["FLAIR"].array != 0
    for name, image in found.by_channel.items():
        assert image.geometry == GRID
        # The stand-in's map is the standardised channel.
        values = images[name].array[inside]
        expected = (values - values.mean()) / values.std()
        np.testing.assert_allclose(image.array[inside], expected, atol=1e-3)
        assert (image.array[~inside] == 0).all()
    files = write_detection(found, tmp_path / "out", name="c", record={})
    for name in ("FLAIR", "T1"):
        path = files[f"attribution_{name}"]
        assert path.name == f"c_attribution_{name}.nii.gz"
        np.testing.assert_allclose(read_image(path).array, found.by_channel[name].array, atol=1e-6)
    np.testing.assert_allclose(
        read_image(files["attribution"]).array, found.attribution.array, atol=1e-6
    )
    summary = json.loads(files["summary"].read_text(encoding="utf-8"))
    assert MapProcessing.from_dict(summary["post_processing"]) == RAW


def test_a_single_channel_has_no_maps_beside_the_combined_one(tiny_bundle, tmp_path):
    found = detect(bundle_of(tiny_bundle), {"FLAIR": image_of()})
    assert found.by_channel == {}
    files = write_detection(found, tmp_path / "out", name="c", record={})
    assert not [name for name in files if name.startswith("attribution_")]


def test_a_real_network_gives_a_map_per_channel(tiny_bundle):
    bundle = bundle_of(tiny_bundle, channels=("FLAIR", "T1"), real=True)
    rng = np.random.default_rng(0)
    array = rng.normal(size=(2, *SIZE)).astype(np.float32)
    prediction = predict_volume(bundle, array, brain(), GRID)
    assert prediction.channels.shape == (2, *SIZE)
    np.testing.assert_allclose(prediction.attribution, prediction.channels.sum(0), atol=1e-6)
    processing = MapProcessing(times_input=True, smoothing_mm=2.0)
    found = post_process(prediction, processing, array, brain(), GRID)
    by_hand = smooth((prediction.channels * array).sum(0), brain(), (1.0,) * 3)
    np.testing.assert_allclose(found, by_hand, atol=1e-5 * np.abs(by_hand).max())


def test_two_channels_get_the_volume_they_were_promised(tiny_bundle):
    """The threshold of map times input is chosen on the very maps it is applied to."""
    bundle = empty(bundle_of(tiny_bundle, channels=("FLAIR", "T1"), real=True))
    validation = [prepared(number, channels=2) for number in range(6)]
    processing = MapProcessing(times_input=True)
    bundle = choose_operating_point(bundle, validation, allowance=ALLOWED, processing=processing)
    threshold = bundle.detection_threshold
    volumes = []
    for case in validation:
        if case.case.label == 0:
            prediction = predict_volume(bundle, case.array, case.brain, case.geometry)
            values = post_process(prediction, processing, case.array, case.brain, case.geometry)
            volumes.append(threshold.mask(values[case.brain]).sum() * GRID.voxel_volume_ml)
    assert np.mean(volumes) == pytest.approx(threshold.detail["reached_ml"])


def test_a_combined_map_goes_with_the_first_channel():
    """Where a method gives no map per channel."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1, *SIZE)).astype(np.float32)
    array = rng.normal(size=(2, *SIZE)).astype(np.float32)
    prediction = Prediction.of(0.0, values)
    found = post_process(prediction, MapProcessing(times_input=True), array, brain(), GRID)
    np.testing.assert_allclose(found, values[0] * array[0], rtol=1e-6)


def channels_of(case, best):
    """Maps of three features: noise, but for the best one, which is the lesion."""
    rng = np.random.default_rng(int(case.case.case[1:]))
    values = rng.normal(size=(3, *SIZE)).astype(np.float32)
    values[best] *= 0.1
    if case.lesions is not None:
        values[best] += case.lesions
    return Prediction.of(0.0, values, "mean")


@pytest.mark.parametrize("rule", ["labels", "masks"])
@pytest.mark.parametrize("best", [0, 2])
def test_the_channel_that_shows_the_lesions_is_chosen(rule, best):
    validation = [prepared(number) for number in range(6)]
    predictions = [channels_of(case, best) for case in validation]
    reductions = ("mean", "maximum", "channel 1", "channel 2", "channel 3")
    found = choose_reduction(reductions, predictions, validation, ALLOWED, rule=rule)
    assert found == f"channel {best + 1}"


def test_a_reduction_can_be_named():
    validation = [prepared(number) for number in range(4)]
    predictions = [channels_of(case, 1) for case in validation]
    reductions = ("mean", "maximum", "channel 1", "channel 2", "channel 3")
    options = (reductions, predictions, validation, ALLOWED)
    assert choose_reduction(*options, rule="maximum") == "maximum"
    assert choose_reduction(("sum",), predictions, validation, ALLOWED) == "sum"
    with pytest.raises(InputError, match="channel 9"):
        choose_reduction(*options, rule="channel 9")
    without = [prepared(number, masks=False) for number in range(4)]
    with pytest.raises(InputError, match="masks"):
        choose_reduction(reductions, predictions, without, ALLOWED, rule="masks")
