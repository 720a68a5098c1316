import csv
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from AttribSegLib.bundle import load_bundle
from AttribSegLib.cases import load_cases
from AttribSegLib.cohort import read_cohort
from AttribSegLib.cohort_fingerprint import cohort_fingerprint, patients_seen
from AttribSegLib.errors import Cancelled, InputError
from AttribSegLib.files import read_json, write_json
from AttribSegLib.image_io import read_image, write_image
from AttribSegLib.inference import predict
from AttribSegLib.operating_point import Allowance
from AttribSegLib.recipes.attribution import AttributionRecipe
from AttribSegLib.thresholds import (
    FALSE_POSITIVE_FRACTION,
    FALSE_POSITIVE_VOLUME,
    PRECISION_RECALL,
)
from AttribSegLib.training.augmentation import NO_AUGMENTATION
from AttribSegLib.training.run import train_bundle

RECIPE = AttributionRecipe(
    width=0.04,
    strides=(2, 1, 1, 1),
    batch_size=4,
    epochs=2,
    background=0.0,
    clip=0.0,
    augmentation=NO_AUGMENTATION,
)
ML = 3.0
ALLOWANCE = Allowance(ML, 0.05)


def train(cohort, out, recipe=RECIPE, **options):
    chosen = {"device": "cpu", "allowance": ALLOWANCE}
    return train_bundle(cohort, recipe, out, **{**chosen, **options})


def passed(bundle, cohort, name):
    """Voxels above a threshold in every healthy validation case, and brain voxels."""
    found = []
    for case in load_cases(cohort.in_split("validation")):
        if case.case.label == 0:
            maps = {
                "attribution": predict(bundle, case.array[None])[0].attribution,
                "FLAIR intensity": case.array[0],
            }
            above = bundle.thresholds[name].mask(maps[name]) & case.brain
            found.append((above.sum(), case.brain.sum(), case.geometry))
    return found


@pytest.mark.parametrize("slices", [False, True])
def test_from_cohort_to_bundle(tmp_path, small_cohort, slices):
    # The test images do not exist: they are never read.
    cohort = small_cohort(slices=slices, write_test=False)
    assert not cohort.in_split("test")[0].channels["FLAIR"].exists()
    events = []
    allowed = 0.5 if slices else ML
    bundle = train(
        cohort, tmp_path / "out", on_event=events.append, allowance=replace(ALLOWANCE, ml=allowed)
    )
    kinds = [event["event"] for event in events]
    assert kinds[:12] == ["load"] * 12
    assert kinds[12] == "start"
    assert kinds[-1] == "done"
    assert [event["done"] for event in events[:12]] == list(range(1, 13))
    assert bundle.dimensions == (2 if slices else 3)
    assert bundle.channels == ("FLAIR",)
    for name in ("attribution", "FLAIR intensity"):
        threshold = bundle.thresholds[name]
        assert threshold.rule == FALSE_POSITIVE_VOLUME
        assert not threshold.uses_masks
        volumes = [count * grid.voxel_volume_ml for count, _, grid in passed(bundle, cohort, name)]
        assert len(volumes) == 2
        assert np.mean(volumes) <= allowed
        assert np.mean(volumes) == pytest.approx(threshold.detail["reached_ml"])
        # One voxel more would be too much.
        assert np.mean(volumes) > allowed - 0.5 * 4**3 / 1000 - 1e-9
        assert bundle.alternatives[name].rule == PRECISION_RECALL

    loaded = load_bundle(tmp_path / "out")
    for name, tensor in bundle.network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor)
    assert loaded.thresholds == bundle.thresholds
    assert loaded.alternatives == bundle.alternatives
    assert loaded.geometry == bundle.geometry
    assert loaded.record["best_epoch"] == json.loads(json.dumps(bundle.record))["best_epoch"]
    assert len(loaded.record["history"]) == 2
    assert loaded.record["cohort"]["splits"]["train"]["patients"] == 8
    assert (tmp_path / "out" / "training" / "curves.png").stat().st_size > 1000


def test_mask_tuned_thresholds_only_where_masks_exist(tmp_path, small_cohort):
    bundle = train(small_cohort(masks=False), tmp_path / "out")
    assert bundle.alternatives == {}
    assert set(bundle.thresholds) == {"attribution", "FLAIR intensity"}


def test_masks_change_nothing_but_the_alternatives(tmp_path, small_cohort):
    runs = []
    for masks in (True, False):
        cohort = small_cohort(masks=masks, name=str(masks))
        runs.append(train(cohort, tmp_path / f"out{masks}"))
    assert runs[0].thresholds == runs[1].thresholds
    for name, tensor in runs[0].network.state_dict().items():
        assert torch.equal(runs[1].network.state_dict()[name], tensor)


def test_nominal_spacing_asks_for_a_share_of_the_brain(tmp_path, small_cohort):
    cohort = small_cohort(nominal=True)
    bundle = train(cohort, tmp_path / "out")
    assert bundle.geometry.nominal
    for name, threshold in bundle.thresholds.items():
        assert threshold.rule == FALSE_POSITIVE_FRACTION
        shares = [count / brain for count, brain, _ in passed(bundle, cohort, name)]
        assert np.mean(shares) <= 0.05
        assert np.mean(shares) == pytest.approx(threshold.detail["reached_fraction"])


def test_one_nominal_case_makes_the_cohort_nominal(tmp_path, small_cohort):
    cohort = small_cohort()
    cases = [replace(case, nominal_spacing=case.case == "validation2") for case in cohort.cases]
    bundle = train(replace(cohort, cases=tuple(cases)), tmp_path / "out")
    assert bundle.geometry.nominal
    assert bundle.thresholds["attribution"].rule == FALSE_POSITIVE_FRACTION


def test_what_is_there_is_replaced_only_on_request(tmp_path, small_cohort):
    cohort, out = small_cohort(), tmp_path / "out"
    first = train(cohort, out, seed=1)
    with pytest.raises(InputError, match="--overwrite"):
        train(cohort, out, seed=2)
    assert load_bundle(out).record["seed"] == 1
    second = train(cohort, out, seed=2, overwrite=True)
    assert load_bundle(out).record["seed"] == 2
    name = "layers.0.weight"
    assert not torch.equal(first.network.state_dict()[name], second.network.state_dict()[name])


def test_resuming_a_finished_bundle_gives_it_back(tmp_path, small_cohort):
    cohort, out = small_cohort(), tmp_path / "out"
    first = train(cohort, out)
    before = (out / "config.json").read_bytes()
    again = train(cohort, out, resume=True)
    assert (out / "config.json").read_bytes() == before
    assert again.thresholds == first.thresholds
    with pytest.raises(InputError, match="another recipe, seed or cohort"):
        train(cohort, out, replace(RECIPE, alpha=0.5), resume=True)
    with pytest.raises(InputError, match="another recipe, seed or cohort"):
        train(cohort, out, seed=5, resume=True)
    fewer = cohort.select(lambda case: case.case not in ("train0", "test1"))
    with pytest.raises(InputError, match="another recipe, seed or cohort"):
        train(fewer, out, resume=True)


def test_a_bundle_names_what_it_was_made_from(tmp_path, small_cohort):
    cohort = small_cohort(write_test=False)
    train(cohort, tmp_path / "out")
    record = load_bundle(tmp_path / "out").record
    assert record["cohort_fingerprint"] == cohort_fingerprint(cohort, ("train", "validation"))
    names = {"train": 8, "validation": 4}
    patients = [f"p{n}{i}" for n, c in names.items() for i in range(c)]
    # Their names are not passed on.
    assert len(record["training_patients"]) == len(patients)
    assert not set(patients) & set(record["training_patients"])
    assert patients_seen(record, cohort.in_split("test")) == []
    assert patients_seen(record, cohort.cases) == patients


def test_a_bundle_of_other_splits_is_not_given_back(tmp_path, small_cohort):
    """The same counts: patients of the first training would be test patients of the second."""
    small_cohort(train=12, validation=6, test=6)
    table = tmp_path / "cohort" / "cohort.csv"
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    lines = [",".join(f"{row[name]}" for name in row if name != "split") for row in rows]
    header = ",".join(name for name in rows[0] if name != "split")
    table.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    first, second = (read_cohort(table, seed=seed, check_images=False) for seed in (0, 1))
    assert first.summary() == second.summary()
    made = train(first, tmp_path / "out")
    assert patients_seen(made.record, second.in_split("test"))
    with pytest.raises(InputError, match="give another --out, or --overwrite"):
        train(second, tmp_path / "out", resume=True)
    train(second, tmp_path / "out", overwrite=True)
    again = load_bundle(tmp_path / "out").record
    assert patients_seen(again, second.in_split("test")) == []


def correct_mask(cohort):
    path = next(case.lesions for case in cohort.in_split("validation") if case.lesions)
    mask = read_image(path)
    array = mask.array.copy()
    array[tuple(np.argwhere(array)[0])] = 0
    write_image(mask.with_array(array), path)


def touch_image(cohort):
    path = cohort.in_split("train")[0].channels["FLAIR"]
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000_000))


@pytest.mark.parametrize("change", [correct_mask, touch_image])
def test_a_bundle_of_other_files_is_not_given_back(tmp_path, small_cohort, change):
    cohort, out = small_cohort(), tmp_path / "out"
    train(cohort, out)
    change(cohort)
    with pytest.raises(InputError, match="another recipe, seed or cohort"):
        train(cohort, out, resume=True)


def test_test_cases_and_folders_do_not_count(tmp_path, small_cohort):
    out = tmp_path / "out"
    train(small_cohort(), out)
    before = (out / "config.json").read_bytes()
    shutil.move(tmp_path / "cohort", tmp_path / "elsewhere")
    moved = read_cohort(tmp_path / "elsewhere" / "cohort.csv", check_images=False)
    for case in moved.in_split("test"):
        case.channels["FLAIR"].unlink()
    train(moved, out, resume=True)
    assert (out / "config.json").read_bytes() == before


def test_bundles_of_older_versions_go_by_the_counts(tmp_path, small_cohort):
    cohort, out = small_cohort(), tmp_path / "out"
    train(cohort, out)
    config = read_json(out / "config.json")
    for name in ("cohort_fingerprint", "training_patients"):
        del config["record"][name]
    write_json(out / "config.json", config)
    touch_image(cohort)
    assert train(cohort, out, resume=True).record["seed"] == 0
    fewer = cohort.select(lambda case: case.case != "test1")
    with pytest.raises(InputError, match="another recipe, seed or cohort"):
        train(fewer, out, resume=True)


def test_reading_the_images_can_be_stopped(tmp_path, small_cohort):
    cohort, out, events = small_cohort(), tmp_path / "out", []
    with pytest.raises(Cancelled, match="no epoch"):
        train(cohort, out, should_stop=lambda: len(events) == 2, on_event=events.append)
    assert [event["event"] for event in events] == ["load"] * 2
    assert train(cohort, out, resume=True).record["epochs"] > 0


def test_a_stopped_run_can_be_resumed_or_replaced(tmp_path, small_cohort):
    cohort, out = small_cohort(), tmp_path / "out"
    whole = train(cohort, tmp_path / "whole")
    asked = []

    def stop():
        asked.append(True)
        return len(asked) == 12 + 3  # the third step, after twelve images

    with pytest.raises(Cancelled):
        train(cohort, out, should_stop=stop)
    with pytest.raises(InputError, match="training is not finished; resume it"):
        load_bundle(out)
    with pytest.raises(InputError, match="unfinished run"):
        train(cohort, out)
    resumed = train(cohort, out, resume=True)
    assert resumed.thresholds == whole.thresholds
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], tensor)


def test_resuming_nothing_is_starting(tmp_path, small_cohort):
    assert train(small_cohort(), tmp_path / "out", resume=True).record["best_epoch"] >= 1


def test_overwriting_waits_until_the_new_run_can_start(tmp_path, small_cohort):
    cohort, out = small_cohort(), tmp_path / "out"
    train(cohort, out)
    missing = small_cohort(name="missing")
    missing.cases[0].channels["FLAIR"].unlink()
    with pytest.raises(InputError, match="case train0"):
        train(missing, out, overwrite=True)
    assert load_bundle(out).record["seed"] == 0


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_with_one_class_is_refused_before_anything_is_read(tmp_path, small_cohort, split):
    cohort = small_cohort()
    cohort = cohort.select(lambda case: case.split != split or case.label == 0)
    with pytest.raises(InputError, match=f"the {split} split needs"):
        train(cohort, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("amount", [-1.0, float("nan"), 1e6])
def test_allowed_volumes_are_checked_before_training(tmp_path, small_cohort, amount):
    events = []
    allowance = replace(ALLOWANCE, ml=amount)
    with pytest.raises(InputError, match="allowed false positives"):
        train(small_cohort(), tmp_path / "out", allowance=allowance, on_event=events.append)
    assert "step" not in {event["event"] for event in events}


def test_bad_run_parameters_are_refused(tmp_path, small_cohort):
    cohort = small_cohort()
    with pytest.raises(InputError, match="seed -1"):
        train(cohort, tmp_path / "a", seed=-1)
    with pytest.raises(InputError, match="device 'tpu'"):
        train(cohort, tmp_path / "b", device="tpu")
    with pytest.raises(InputError, match="batch size 5"):
        train(cohort, tmp_path / "c", replace(RECIPE, batch_size=5))
    with pytest.raises(InputError, match="at least 32 along"):
        train(cohort, tmp_path / "d", replace(RECIPE, strides=(2, 2, 2, 2)))
