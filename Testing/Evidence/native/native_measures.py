"""What is measured of the raw patient: where results lie, whether they repeat, what is new."""

from typing import Any

import numpy as np
from AttribSegLib.assessment import evaluated_cases
from AttribSegLib.bundle import ATTRIBUTION, Bundle
from AttribSegLib.image import Image
from AttribSegLib.lesions import label_lesions
from AttribSegLib.metrics.voxel import RankedScores
from AttribSegLib.preprocessing.mask_transfer import transfer_mask
from native_scans import Found, Visit, trainer_of
from simulated_ms import cohort_of, real_case
from study import Study
from visit_agreement import (
    brightest,
    correlation,
    dice,
    largest_rise,
    mirrored,
    rank_of,
    shifted_dice,
)

RAW, PREPARED = "FLAIR, raw", "FLAIR, prepared"


def per_visit(visit: Visit, bundle: Bundle) -> dict[str, Any]:
    """Probability, lesions and grid of one detection."""
    summary = visit.found.summary
    attribution, mask = visit.found.native("attribution"), visit.found.native("lesions")
    tuned = tuned_mask(visit, bundle)
    apart = np.abs(attribution.geometry.affine - visit.flair.geometry.affine).max()
    return {
        "probability": summary["probability"],
        "lesions": summary["lesions"],
        "lesion_ml": summary["lesion_volume_ml"],
        "mask_tuned_lesions": label_lesions(tuned)[1],
        "mask_tuned_ml": float(tuned.array.sum() * tuned.geometry.voxel_volume_ml),
        "peak_attribution": float(attribution.array.max()),
        "threshold": summary["threshold"]["value"],
        "mask_tuned_threshold": bundle.alternatives[ATTRIBUTION].value,
        "spacing": list(visit.flair.geometry.spacing),
        "same_grid": attribution.geometry.same_grid(visit.flair.geometry)
        and mask.geometry.same_grid(visit.flair.geometry),
        "largest_difference_of_headers": float(apart),
        "determinant_to_atlas": {c: visit.found.to_atlas(c).determinant for c in ("FLAIR", "T1")},
    }


def tuned_mask(visit: Visit, bundle: Bundle) -> Image:
    """Native mask at the threshold that was tuned on masks of simulated validation images."""
    attribution = visit.found.native("attribution")
    return attribution.with_array(bundle.alternatives[ATTRIBUTION].mask(attribution.array))


def maps_in_common(visit: Visit, own: dict[str, Found]) -> dict[str, np.ndarray]:
    """Every model's map and both forms of the FLAIR on the authors' grid."""
    found = {name: visit.in_common(each.native("attribution")).array for name, each in own.items()}
    found[PREPARED] = visit.from_atlas(visit.found.atlas("FLAIR")).array
    found[RAW] = visit.in_common(visit.flair).array
    return found


def agreement(study: Study, first: np.ndarray, second: np.ndarray, common: Image) -> dict[str, Any]:
    """Agreement of two visits' maps beside chance, on the authors' grid."""
    settings = study.settings
    region, geometry = common.array, common.geometry
    side = geometry.axis_towards("L")
    turned = mirrored(second, region, side)
    result: dict[str, Any] = {
        "correlation": correlation(first, second, region),
        "correlation_mirrored": correlation(first, turned, region & mirrored(region, region, side)),
    }
    for volume in settings["volumes_ml"]:
        voxels = round(volume / geometry.voxel_volume_ml)
        one, two = (brightest(values, region, voxels) for values in (first, second))
        shifted = shifted_dice(
            one,
            two,
            region,
            geometry.spacing,
            count=settings["shifts"],
            between_mm=tuple(settings["shift_mm"]),
            seed=settings["shift_seed"],
        )
        result[f"{volume:g} mL"] = {
            "dice": dice(one, two),
            "mirrored": dice(one, mirrored(two, region, side)),
            "shifted": float(np.mean(shifted)),
            "shifted_largest": float(np.max(shifted)),
        }
    return result


def masks_agreement(first: Visit, second: Visit, bundle: Bundle) -> dict[str, float]:
    """Dice in common space of the label-only masks and of the mask-tuned ones."""
    found = {}
    for name in ("label-only", "mask-tuned"):
        masks = []
        for visit in (first, second):
            native = visit.found.native("lesions")
            mask = native.with_array(native.array > 0)
            mask = tuned_mask(visit, bundle) if name == "mask-tuned" else mask
            masks.append(transfer_mask(mask, visit.common.geometry, visit.to_common).array)
        found[name] = dice(*masks)
    return found


def turned_result(study: Study, visit: Visit, turned: Found) -> dict[str, Any]:
    """The same scan with turned axes: what changed in the patient, and on which side it lies."""
    whole = visit.found.native("attribution")
    again = turned.native("attribution").reorient(whole.geometry.orientation())
    brain = (whole.array != 0) | (again.array != 0)
    voxels = round(study.settings["volume_ml"] / whole.geometry.voxel_volume_ml)
    one, two = (brightest(each.array, brain, voxels) for each in (whole, again))
    side = whole.geometry.axis_towards("L")
    return {
        "turned_to": study.settings["turned_to"],
        "same_grid_once_turned_back": again.geometry.same_grid(whole.geometry),
        "probability": visit.found.summary["probability"],
        "probability_turned": turned.summary["probability"],
        "correlation": correlation(whole.array, again.array, brain),
        "dice": dice(one, two),
        "dice_mirrored": dice(one, mirrored(two, brain, side)),
        "left_share_native": left_share(visit.found.native("attribution"), brain, voxels),
        "left_share_atlas": left_share_atlas(visit.found, study.settings["volume_ml"]),
    }


def left_share(attribution: Image, brain: np.ndarray, voxels: int) -> float:
    """Share of the brightest voxels on the patient's left of the brain's middle."""
    points = attribution.geometry.to_lps(np.argwhere(brain))
    hot = attribution.geometry.to_lps(np.argwhere(brightest(attribution.array, brain, voxels)))
    return float((hot[:, 0] > points[:, 0].mean()).mean())


def left_share_atlas(found: Found, volume_ml: float) -> float:
    """The same in atlas space, where the middle is at zero."""
    attribution, brain = found.atlas("attribution"), found.atlas("brain").array > 0
    # Volumes of the scan; the atlas is larger by the determinant.
    larger = found.to_atlas("FLAIR").determinant / attribution.geometry.voxel_volume_ml
    hot = brightest(attribution.array, brain, round(volume_ml * larger))
    return float((attribution.geometry.to_lps(np.argwhere(hot))[:, 0] > 0).mean())


def other_brains(study: Study, bundle: Bundle, first: Found, second: Found) -> dict[str, Any]:
    """Visit 1's map beside visit 2's and beside those of other brains, in atlas space.

    What maps of different brains share is where the model expects lesions, not where this
    patient has them.
    """
    own, brain = first.atlas("attribution"), first.atlas("brain").array > 0
    voxels = round(study.settings["volume_ml"] / own.geometry.voxel_volume_ml)

    def compare(image: Image, other: np.ndarray) -> dict[str, float]:
        region = brain & other
        one, two = (brightest(each.array, region, voxels) for each in (own, image))
        return {
            "correlation": correlation(own.array, image.array, region),
            "dice": dice(one, two),
        }

    found = {"visit 2": [compare(second.atlas("attribution"), second.atlas("brain").array > 0)]}
    trainer = trainer_of(study)
    members = [case for case in cohort_of(trainer).in_split("test") if case.label == 0]
    kinds = {
        "other MS patients": [real_case(trainer, n) for n in trainer.settings["patients"]],
        "healthy simulated brains": members[: study.settings["healthy_simulated"]],
    }
    for kind, cases in kinds.items():
        found[kind] = []
        for case in evaluated_cases(bundle, cases):
            values = Image(case.maps[ATTRIBUTION], case.geometry)
            there = Image(case.brain, case.geometry).resample(own.geometry)
            found[kind].append(compare(values.resample(own.geometry), there.array))
    return {
        kind: {
            "brains": len(each),
            **{key: float(np.mean([one[key] for one in each])) for key in ("correlation", "dice")},
        }
        for kind, each in found.items()
    }


def new_lesion(study: Study, maps: list[dict[str, np.ndarray]], common: Image) -> dict[str, Any]:
    """The region that became bright at visit 2, and how every map ranks it at both visits."""
    region = common.array
    before, after = maps
    part = largest_rise(before[RAW], after[RAW], region, rise_sd=study.settings["rise_sd"])
    centre = common.geometry.to_ras(np.argwhere(part).mean(axis=0))
    result: dict[str, Any] = {
        "ml": float(part.sum() * common.geometry.voxel_volume_ml),
        "centre_ras_mm": [float(c) for c in centre],
        "prevalence": float(part.sum() / region.sum()),
        "maps": {},
    }
    for name in before:
        change = after[name] - before[name]
        result["maps"][name] = {
            "rank_visit_1": rank_of(before[name], part, region),
            "rank_visit_2": rank_of(after[name], part, region),
            "auprc_visit_2": RankedScores.of(after[name][region], part[region]).auprc(),
            "auprc_change": RankedScores.of(change[region], part[region]).auprc(),
        }
    return result


def hot_on_bright(study: Study, maps: dict[str, np.ndarray], common: Image) -> dict[str, float]:
    """Dice of every model's brightest volume with the prepared FLAIR's, within one visit."""
    voxels = round(study.settings["volume_ml"] / common.geometry.voxel_volume_ml)
    bright = brightest(maps[PREPARED], common.array, voxels)
    return {
        name: dice(brightest(values, common.array, voxels), bright)
        for name, values in maps.items()
        if name not in (RAW, PREPARED)
    }
