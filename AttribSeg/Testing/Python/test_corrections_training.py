"""The next training learns from a correction: m(x) of eq. 5.8."""

from pathlib import Path

import numpy as np
import pytest
from AttribSegLib.cohort import read_cohort
from AttribSegLib.corrections import add_correction
from AttribSegLib.errors import InputError
from AttribSegLib.image import Image
from AttribSegLib.image_io import read_image


@pytest.fixture
def corrected_table(tmp_path, volume_cohort):
    """The tiny cohort without masks, in which one training case was corrected."""
    path = volume_cohort(tmp_path, masks=False)
    case = next(c for c in read_cohort(path).in_split("train") if c.label == 1)
    image = read_image(case.channels["FLAIR"])
    array = np.zeros(image.geometry.size, bool)
    array[14:20, 14:20, 12:18] = True
    add_correction(
        path,
        case=case.case,
        patient=case.patient,
        channels={"FLAIR": image},
        corrected=Image(array, image.geometry),
        detected=None,
        author="A. Reader",
        bundle="",
    )
    return path, case.case, array


def test_the_loss_of_a_corrected_case_is_that_of_eq_5_8(corrected_table):
    torch = pytest.importorskip("torch")
    from AttribSegLib.cases import load_cases
    from AttribSegLib.recipes.attribution import AttributionRecipe
    from AttribSegLib.training.augmentation import NO_AUGMENTATION
    from AttribSegLib.training.batch_maker import BatchMaker
    from AttribSegLib.training.distributed import Process

    path, name, mask = corrected_table
    cases = load_cases(read_cohort(path).in_split("train"))
    losses = {}
    for constraint in ("sup", "unsup"):
        recipe = AttributionRecipe(
            width=0.05,
            constraint=constraint,
            alpha=1.0,
            alpha_warmup=0.0,
            batch_size=6,
            epochs=1,
            augmentation=NO_AUGMENTATION,
        )
        maker = BatchMaker(recipe, cases, seed=0, process=Process())
        plan = next(iter(maker.batches.epoch(1)))
        batch = maker(1, 0, plan)
        used = [cases[index].case.case for index in sorted(maker.masked)]
        assert used == ([name] if constraint == "sup" else [])
        torch.manual_seed(0)
        network = recipe.build(in_channels=1, dimensions=3)
        losses[constraint] = recipe.batch_loss(network, batch).terms["constraint"]

        # The equation, written out: every voxel of healthy images argues for "healthy", every one
        # of the corrected image for what the person drew there.
        images, truths = list(batch.healthy), [np.zeros(mask.shape)] * len(batch.healthy)
        for index, image in zip(plan[1], batch.pathological, strict=True):
            if constraint == "sup" and cases[index].case.case == name:
                images, truths = [*images, image], [*truths, mask.astype(float)]
        terms = []
        for image, truth in zip(images, truths, strict=True):
            x = image[None].requires_grad_()
            network(x).sum().backward()
            scores = x.grad[0, 0].double().numpy() * mask.size
            # -log sigmoid(A) where m is 1 and -log(1 - sigmoid(A)) where it is 0
            terms.append(np.logaddexp(0, np.where(truth, -scores, scores)).mean())
        assert losses[constraint] == pytest.approx(np.mean(terms), rel=1e-4)
    assert losses["sup"] != pytest.approx(losses["unsup"], rel=1e-3)


def test_a_cohort_with_one_corrected_case_trains_with_its_mask(corrected_table, tmp_path):
    pytest.importorskip("torch")
    from AttribSegLib.recipes.attribution import AttributionRecipe
    from AttribSegLib.training.run import train_bundle

    path, *_ = corrected_table
    cohort = read_cohort(path)
    histories = {}
    for constraint in ("sup", "unsup"):
        recipe = AttributionRecipe(
            width=0.05, constraint=constraint, alpha=1.0, alpha_warmup=0.0, batch_size=6, epochs=2
        )
        bundle = train_bundle(cohort, recipe, tmp_path / constraint, device="cpu")
        histories[constraint] = [epoch["train_constraint"] for epoch in bundle.record["history"]]
        assert bundle.record["cohort"]["with_lesions"] == 1
        masks = "and the lesion masks of 1 of them" if constraint == "sup" else "only"
        assert bundle.description.endswith(f"with image-level labels {masks}.")
    assert histories["sup"] != histories["unsup"]


def test_without_any_correction_there_is_nothing_to_learn_from(tmp_path, volume_cohort):
    pytest.importorskip("torch")
    from AttribSegLib.recipes.attribution import AttributionRecipe
    from AttribSegLib.training.run import train_bundle

    cohort = read_cohort(volume_cohort(tmp_path, masks=False))
    recipe = AttributionRecipe(width=0.05, constraint="sup", batch_size=6, epochs=2)
    with pytest.raises(InputError, match="learns from lesion masks"):
        train_bundle(cohort, recipe, tmp_path / "out", device="cpu")
    assert not (Path(tmp_path) / "out" / "config.json").exists()


def test_a_correction_tells_a_finished_bundle_that_its_cohort_changed(corrected_table):
    from AttribSegLib.cohort_fingerprint import cohort_fingerprint

    path, name, mask = corrected_table
    seen = ("train", "validation")
    before = cohort_fingerprint(read_cohort(path), seen)
    case = next(case for case in read_cohort(path).cases if case.case == name)
    image = read_image(case.channels["FLAIR"])
    add_correction(
        path,
        case=name,
        patient=case.patient,
        channels={"FLAIR": image},
        corrected=image.with_array(np.roll(mask, 1, axis=0)),
        detected=image.with_array(mask),
        author="A. Reader",
        bundle="",
    )
    assert cohort_fingerprint(read_cohort(path), seen) != before
