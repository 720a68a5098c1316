"""The page of the study: grids and sides, volumes, agreement of the visits, the new lesion."""

from typing import Any

from AttribSegLib.evaluation_report import markdown_table, number
from native_measures import PREPARED, RAW
from study import Study

NO_NETWORK = {PREPARED: "plain FLAIR threshold, prepared", RAW: "plain FLAIR threshold, raw"}


def value(given: float | None) -> str:
    """A number, or a dash where there is none."""
    return number(float("nan") if given is None else given)


def labels(study: Study) -> dict[str, str]:
    """What each map is called, networks first."""
    return {**study.settings["models"], **NO_NETWORK}


def summary(study: Study, results: dict[str, Any]) -> str:
    """The block of the overview page."""
    settings = study.settings
    volume = f"{settings['volume_ml']:g} mL"
    rows = []
    for name, label in labels(study).items():
        found, new = results["agreement"][name], results["new_lesion"]["maps"][name]
        visits = results["visits"].get(name)
        rows.append(
            [
                label,
                _both(visits, "probability"),
                _both(visits, "lesion_ml"),
                value(found[volume]["dice"]),
                value(found[volume]["mirrored"]),
                value(found[volume]["shifted"]),
                f"{value(new['rank_visit_1'])}, {value(new['rank_visit_2'])}",
                value(new["auprc_visit_2"]),
            ]
        )
    head = [
        "Map",
        "Probability, visits 1, 2",
        "Lesions, mL (label-only)",
        f"Dice of the visits' highest {volume}",
        "the same, one mirrored",
        "one shifted",
        "Rank of the new lesion, visits 1, 2",
        "AUPRC of the new lesion",
    ]
    table = markdown_table(head, rows)
    return (
        "Population: one raw MS patient at two visits (clinical FLAIR and T1W), never trained on; "
        f"models of ms-3d, seed {settings['seed_of_models']}, trained on simulated brains alone. "
        "Nothing was split or tuned here: the label-only threshold is the bundle's (1 mL of false "
        f"positives per healthy simulated validation image), and the volume ({volume}) was fixed "
        "before the visits were compared. No post-processing. There are no lesion masks: "
        "repeatability is shown, not correctness, but for one lesion that is new at visit 2 "
        f"({results['new_lesion']['ml']:.1f} mL, taken from the rise of the raw FLAIR, which "
        "favours the FLAIR rows). Rank: mean share of the brain below it, 0.5 by chance.\n\n"
        f"{table}\n\n![Both visits](native.png)"
    )


def _both(visits: list[dict[str, Any]] | None, key: str) -> str:
    """A figure of both visits; a dash where there is no network."""
    return "-" if visits is None else ", ".join(f"{visit[key]:.2f}" for visit in visits)


def page(study: Study, results: dict[str, Any]) -> str:
    """The page below the findings."""
    settings = study.settings
    names = settings["visits"]
    pictures = "\n\n".join(
        f"![{name}, detection]({name}_overlay.png)\n\n![{name}, Slicer]({name}_slicer_axial.png)"
        for name in names
    )
    low, high = settings["shift_mm"]
    rise = settings["rise_sd"]
    new = results["new_lesion"]
    centre = ", ".join(f"{c:.0f}" for c in new["centre_ras_mm"])
    return f"""## How it was made

`attribseg detect FLAIR=...,T1=... --bundle ...` on each visit's raw scans, as a user runs it: the
chain (interpolation between slices, registration, brain, N4, standardisation) and the network in
atlas space, then everything back onto the FLAIR's own grid. The models are those of ms-3d (seed
{settings["seed_of_models"]}). To compare the visits, native results are brought into the authors'
common space with the authors' transforms and read inside the authors' brain mask; neither comes
from the chain that is judged.

## Grid, sides and volumes

{_visits_table(study, results)}

The threshold is label-only; the mask-tuned one is the best pooled Dice on *simulated* validation
images. Masks are cut in atlas space and brought back lesion by lesion; the highest value is that
of the native map, which interpolation lowers. Same grid: the native map and mask lie on the scan's
own grid (largest difference of the headers' matrices in brackets). Determinants of the transforms
to the atlas are positive: nothing is mirrored on the way.

{_turned_text(results["turned"])}

## Agreement between the visits

{_agreement_table(study, results)}

Chance: the second mask mirrored at the middle of the brain, or shifted {low:g} to {high:g} mm in
{settings["shifts"]} directions drawn by chance (mean Dice). Masks, Dice in common space:
{_masks_text(study, results)}.

## Is it this patient's map?

Visit 1's map beside other brains' maps, in atlas space (our registration); the highest
{settings["volume_ml"]:g} mL are compared.

{_others_table(study, results)}

Dice of the highest {settings["volume_ml"]:g} mL with the brightest {settings["volume_ml"]:g} mL of
the prepared FLAIR, visits 1 and 2: {_bright_text(study, results)}.

## The lesion that is new at visit 2

A region of {new["ml"]:.1f} mL beside the left ventricle (RAS {centre} mm in common space) is bright
at visit 2 and was not at visit 1. It was found in the raw FLAIR alone: the largest connected region
whose intensity rose by more than {rise:g} robust standard deviations (set by looking at the FLAIR
images; the next largest region has less than 0.1 mL). This favours the FLAIR rows of the table,
and other lesions count as background for all rows.

{_new_table(study, results)}

Rank: mean share of the brain's voxels that lie below the region's; at visit 1 the tissue there was
still unremarkable. Chance: rank 0.5, AUPRC {value(new["prevalence"])}.

![Both visits](native.png)

## Pictures in native space

The command's own overlay of each visit, and Slicer's slice view of the scan through the map's peak
with the highest {settings["volume_ml"]:g} mL as a segment.

{pictures}"""


def _visits_table(study: Study, results: dict[str, Any]) -> str:
    head = [
        "Model",
        "Visit",
        "Probability",
        "Lesions",
        "mL",
        "Lesions, mask-tuned",
        "mL, mask-tuned",
        "Highest value / threshold",
        "Same grid",
        "Determinants, FLAIR and T1",
    ]
    rows = []
    for name, label in study.settings["models"].items():
        for visit, found in zip(study.settings["visits"], results["visits"][name], strict=True):
            same = "yes" if found["same_grid"] else "no"
            factors = found["determinant_to_atlas"]
            rows.append(
                [
                    label,
                    visit,
                    f"{found['probability']:.2f}",
                    str(found["lesions"]),
                    f"{found['lesion_ml']:.2f}",
                    str(found["mask_tuned_lesions"]),
                    f"{found['mask_tuned_ml']:.2f}",
                    f"{found['peak_attribution'] / found['threshold']:.2f}",
                    f"{same} ({found['largest_difference_of_headers']:.1g})",
                    ", ".join(f"{factor:.2f}" for factor in factors.values()),
                ]
            )
    return markdown_table(head, rows)


def _turned_text(turned: dict[str, Any]) -> str:
    return (
        f"Visit 1 once more with the axes of both files turned to {turned['turned_to']} (nothing "
        f"moves in the patient): probability {turned['probability_turned']:.3f} instead of "
        f"{turned['probability']:.3f}; once turned back, correlation of the maps "
        f"{value(turned['correlation'])}, Dice of the highest volume {value(turned['dice'])} "
        f"({value(turned['dice_mirrored'])} with one mirrored). Of that volume "
        f"{turned['left_share_native']:.1%} lie on the patient's left in the scan, "
        f"{turned['left_share_atlas']:.1%} in the atlas."
    )


def _agreement_table(study: Study, results: dict[str, Any]) -> str:
    volumes = [f"{volume:g} mL" for volume in study.settings["volumes_ml"]]
    head = [
        "Map",
        "Correlation",
        "Correlation, mirrored",
        *(f"Dice, highest {v} (mirrored, shifted)" for v in volumes),
    ]
    rows = []
    for name, label in labels(study).items():
        found = results["agreement"][name]
        cells = [
            f"{value(found[v]['dice'])} ({value(found[v]['mirrored'])}, "
            f"{value(found[v]['shifted'])})"
            for v in volumes
        ]
        first = [value(found[key]) for key in ("correlation", "correlation_mirrored")]
        rows.append([label, *first, *cells])
    return markdown_table(head, rows)


def _masks_text(study: Study, results: dict[str, Any]) -> str:
    parts = []
    for name, label in study.settings["models"].items():
        found = results["masks"][name]
        tuned = value(found["mask-tuned"])
        plain = found["label-only"]
        empty = "none (both are empty)" if plain is None or plain != plain else value(plain)
        parts.append(f"{label}: label-only {empty}, mask-tuned {tuned}")
    return "; ".join(parts)


def _others_table(study: Study, results: dict[str, Any]) -> str:
    kinds = list(next(iter(results["others"].values())))
    head = ["Map"]
    for kind in kinds:
        count = next(iter(results["others"].values()))[kind]["brains"]
        many = f" (mean of {count})" if count > 1 else ""
        head += [f"Correlation with {kind}{many}", "Dice"]
    rows = []
    for name, label in study.settings["models"].items():
        found = results["others"][name]
        rows.append(
            [label, *(value(found[kind][key]) for kind in kinds for key in ("correlation", "dice"))]
        )
    return markdown_table(head, rows)


def _bright_text(study: Study, results: dict[str, Any]) -> str:
    return "; ".join(
        f"{label} " + ", ".join(value(visit[name]) for visit in results["hot_on_bright"])
        for name, label in study.settings["models"].items()
    )


def _new_table(study: Study, results: dict[str, Any]) -> str:
    keys = ("rank_visit_1", "rank_visit_2", "auprc_visit_2", "auprc_change")
    head = ["Map", "Rank, visit 1", "Rank, visit 2", "AUPRC, visit 2", "AUPRC of the change"]
    rows = []
    for name, label in labels(study).items():
        found = results["new_lesion"]["maps"][name]
        rows.append([label, *(value(found[key]) for key in keys)])
    return markdown_table(head, rows)
