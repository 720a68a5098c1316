"""The page of the study: what every model reached, on simulated and on real volumes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from AttribSegLib.evaluation_report import markdown_table, number
from study import Study

INTENSITY = "FLAIR intensity"
Found = dict[str, Any]
Group = tuple[str, list[Found]]


def groups_of(study: Study, found: Sequence[Found]) -> list[Group]:
    """Models that differ in the seed alone, with a label; the parts from small to large."""
    settings = study.settings
    labels = {name: each["label"] for name, each in settings["models"].items()}
    groups: list[Group] = []
    for count in (*settings["counts"], None):
        for name in settings["models"]:
            members = [f for f in found if f["model"] == name and f["images_per_class"] == count]
            if members:
                images = members[0]["training_images"]
                groups.append((f"{labels[name]}, {images} images", members))
    return groups


def over_seeds(members: Sequence[Found], read: Callable[[Found], float | None]) -> str:
    """Mean over seeds, the single values behind it where there are several."""
    values = [np.nan if read(each) is None else float(read(each) or 0.0) for each in members]
    mean = number(float(np.mean(values)))
    return mean if len(values) == 1 else f"{mean} ({', '.join(number(v) for v in values)})"


def summary(study: Study, found: Sequence[Found]) -> str:
    """The block of the overview page."""
    settings = study.settings
    names = settings["patients"]
    first = found[0]
    rows = []
    for label, members in groups_of(study, found):
        rows.append(
            [
                label,
                over_seeds(members, lambda f: f["simulated"]["image_auroc"]),
                over_seeds(members, _simulated("auprc")),
                over_seeds(members, _simulated("dice")),
                *(over_seeds(members, _real(name, "auprc")) for name in names),
                over_seeds(members, _real(names[-1], "dice")),
            ]
        )
    plain = [first]
    rows.append(
        [
            "plain FLAIR threshold",
            "-",
            over_seeds(plain, _simulated("auprc", INTENSITY)),
            over_seeds(plain, _simulated("dice", INTENSITY)),
            *(over_seeds(plain, _real(name, "auprc", INTENSITY)) for name in names),
            over_seeds(plain, _real(names[-1], "dice", INTENSITY)),
        ]
    )
    rows.append(
        [
            "share of lesion voxels (chance)",
            "0.5",
            number(first["simulated"]["prevalence"]),
            "-",
            *(number(first["real"][name]["prevalence"]) for name in names),
            "-",
        ]
    )
    head = [
        "Trained with",
        "Image AUROC, simulated",
        "AUPRC, simulated",
        "Dice, simulated",
        *(f"AUPRC, {name}" for name in names),
        f"Dice, {names[-1]}",
    ]
    counts = first["simulated"]["counts"]
    used = settings["seeds"]
    many = f"Seeds {', '.join(map(str, used))}: mean, single values in brackets."
    seeds = many if len(used) > 1 else f"One seed ({used[0]})."
    return (
        f"Population: {counts['healthy']} healthy and {counts['pathological']} pathological "
        "simulated FLAIR volumes (test split; every simulated subject is a patient of its own; "
        "lesion shapes of the other patients) and two real MS patients at 1 mm, never trained on "
        f"(but see the page). {seeds} Dice at the "
        "label-only threshold (1 mL of false positives per healthy validation image); voxel "
        "figures are pooled over the pathological volumes, inside the brain; no "
        "post-processing.\n\n"
        f"{markdown_table(head, rows)}\n\n"
        "![Figures against the number of training images](ms-3d.png)"
    )


def page(study: Study, found: Sequence[Found]) -> str:
    """The page below the findings."""
    settings = study.settings
    numbers = settings["simulation"]
    recipe = ", ".join(f"{key} {value}" for key, value in settings["recipe"].items())
    minutes = sum(each["training_minutes"] for each in found)
    sections = [
        f"""## How it was made

Simulated: {numbers["healthy"]} healthy and {numbers["pathological"]} pathological FLAIR volumes at
{numbers["spacing"]} mm (seed {numbers["seed"]}) with the lesion shapes of twenty patients planted,
each deformed with its subject and mirrored by chance; the shapes of
{" and ".join(settings["patients"])} are not among them. The simulated test split shares shapes,
though never subjects, with the training split. Pathological cases with less than
{settings["least_lesions_ml"]:.0f} mL are left out of all splits. Training uses image-level labels
only. All models share this recipe and differ in what the tables name:

    {recipe}

Parts of the training split: the first so many subjects of each class in an order drawn with the
run's seed, so that larger parts hold the smaller ones. Rows of the larger class are repeated up to
the whole split's number: every run makes the same number of steps with the same rates. Validation
(which picks the epoch and the threshold) and test are whole for all of them. By the
clock all trainings together took {minutes:.0f} minutes, on a processor shared with other work.

Maps are computed on the {numbers["spacing"]} mm grid and compared in the images' own geometry,
inside the brain. Label-only threshold: 1 mL of false positives per healthy simulated validation
image. Mask-tuned threshold: the best pooled Dice on simulated validation images. Oracle: the best
Dice on the very images that are reported. Smoothed: a Gaussian of {settings["sigma_voxels"]}
voxels at 1 mm, all maps alike.

## Simulated test split

{_simulated_table(study, found)}

![Figures against the number of training images](ms-3d.png)"""
    ]
    for name in settings["patients"]:
        sections.append(
            f"## {name}\n\n{_real_text(study, found, name)}\n\n"
            f"![Slicer]({name}_slicer_axial.png)\n\n![Detection]({name}_overlay.png)"
        )
    return "\n\n".join(sections)


def _simulated_table(study: Study, found: Sequence[Found]) -> str:
    head = [
        "Trained with",
        "Image AUROC",
        "TPR",
        "TNR",
        "AUPRC",
        "Dice, label-only",
        "Dice, mask-tuned on validation",
        "Oracle Dice",
        "Best epoch",
    ]
    keys = ("auprc", "dice", "dice_mask_tuned", "oracle_dice")
    rows = []
    for label, members in groups_of(study, found):
        rows.append(
            [
                label,
                over_seeds(members, lambda f: f["simulated"]["image_auroc"]),
                over_seeds(members, lambda f: f["simulated"]["tpr"]),
                over_seeds(members, lambda f: f["simulated"]["tnr"]),
                *(over_seeds(members, _simulated(key)) for key in keys),
                ", ".join(str(each["best_epoch"]) for each in members),
            ]
        )
    plain = [over_seeds(found[:1], _simulated(key, INTENSITY)) for key in keys]
    rows.append(["plain FLAIR threshold", "-", "-", "-", *plain, "-"])
    return markdown_table(head, rows)


def _real_text(study: Study, found: Sequence[Found], name: str) -> str:
    head = [
        "Map",
        "Probability",
        "AUPRC",
        "AUROC",
        "AUROC10",
        "Dice, label-only",
        "Dice, mask-tuned on simulated validation",
        "Oracle Dice",
    ]
    keys = ("auprc", "auroc", "auroc10", "dice", "dice_mask_tuned", "oracle_dice")
    rows = []
    for suffix in ("", ", smoothed"):
        for label, members in groups_of(study, found):
            cells = [over_seeds(members, _real(name, k, f"attribution{suffix}")) for k in keys]
            probability = over_seeds(members, lambda f: f["real"][name]["probabilities"][name])
            rows.append([label + suffix, "-" if suffix else probability, *cells])
        plain = [over_seeds(found[:1], _real(name, k, INTENSITY + suffix)) for k in keys]
        rows.append([f"plain FLAIR threshold{suffix}", "-", *plain])
    one = found[0]["real"][name]
    return (
        f"{one['lesion_ml'][name]:.1f} mL of lesions, prevalence {one['prevalence']:.4f} of the "
        f"brain at 1 mm.\n\n{markdown_table(head, rows)}"
    )


def _simulated(key: str, of: str = "attribution") -> Callable[[Found], float | None]:
    return lambda found: found["simulated"]["maps"][of].get(key)


def _real(name: str, key: str, of: str = "attribution") -> Callable[[Found], float | None]:
    return lambda found: found["real"][name]["maps"][of].get(key)
