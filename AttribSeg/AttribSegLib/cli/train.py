"""Train a classifier whose attributions rest on the lesions, from image-level labels."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import Any

HELP = "train a constrained classifier on a cohort"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``attribseg train``."""
    parser.add_argument("cohort", type=Path, help="cohort table (CSV)")
    parser.add_argument("--out", type=Path, required=True, help="bundle folder to make")
    parser.add_argument(
        "--recipe",
        default="attribution",
        help="name of a recipe, or a JSON file with a recipe's parameters",
    )
    group = parser.add_argument_group("recipe", "override the recipe's own values")
    group.add_argument(
        "--network",
        default=argparse.SUPPRESS,
        help="patchgan, resnet18, resnet34, resnet50, resnet152, densenet121 or a registered one",
    )
    group.add_argument(
        "--constraint",
        choices=("unsup", "sup", "unsup_tv", "erion", "ross", "none"),
        default=argparse.SUPPRESS,
        help="sup learns from the lesion masks of the cases that have one, too",
    )
    group.add_argument(
        "--attribution",
        default=argparse.SUPPRESS,
        help="what is constrained: gradient, integrated_gradients, expected_gradients or "
        "integrated_expected_gradients",
    )
    group.add_argument(
        "--alpha",
        type=_alpha,
        default=argparse.SUPPRESS,
        help="weight of the constraint; auto finds the largest one that leaves validation TPR and "
        "TNR at most 0.05 below the unconstrained model's (up to ten trainings)",
    )
    group.add_argument(
        "--alpha-scale",
        choices=("voxels", "rms", "raw"),
        default=argparse.SUPPRESS,
        help="attributions multiplied by the voxel count, divided by their root mean square, or as "
        "they are (as in the thesis)",
    )
    group.add_argument(
        "--width", type=float, default=argparse.SUPPRESS, help="factor on the number of filters"
    )
    group.add_argument("--norm", default=argparse.SUPPRESS, help="normalisation layers")
    group.add_argument("--epochs", type=int, default=argparse.SUPPRESS)
    group.add_argument("--batch-size", type=int, default=argparse.SUPPRESS)
    group.add_argument("--optimiser", default=argparse.SUPPRESS)
    group.add_argument("--learning-rate", type=float, default=argparse.SUPPRESS)
    group.add_argument(
        "--patience",
        type=int,
        default=argparse.SUPPRESS,
        help="stop after so many epochs worse than the best validation classification",
    )
    run = parser.add_argument_group("run")
    run.add_argument("--device", default="auto", help="auto, cpu or cuda")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's choice)")
    run.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    run.add_argument("--overwrite", action="store_true", help="replace what is in --out")
    run.add_argument(
        "--false-positive-ml",
        type=float,
        default=1.0,
        help="sets the threshold: mL allowed per healthy validation image",
    )
    run.add_argument(
        "--false-positive-fraction",
        type=float,
        default=0.005,
        help="the same as a share of the brain, for cohorts of nominal spacing",
    )
    run.add_argument(
        "--post-processing",
        default="none",
        help="of the maps, stored in the bundle: none, chosen by labels or masks of validation "
        "images, or a JSON file with its steps",
    )
    run.add_argument(
        "--reduction",
        default="labels",
        help="where maps have channels to choose from: the best one by labels or masks of "
        "validation images, or mean, maximum, 'channel 1', ...",
    )
    run.add_argument("--json", action="store_true", help="print events as JSON lines")


def _alpha(text: str) -> float | str:
    return text if text == "auto" else float(text)


_RECIPE_ARGUMENTS = (
    "network",
    "constraint",
    "attribution",
    "alpha",
    "alpha_scale",
    "width",
    "norm",
    "epochs",
    "batch_size",
    "optimiser",
    "learning_rate",
    "patience",
)


def run(args: argparse.Namespace) -> int:
    """Train; returns the exit code."""
    from ..cohort import read_cohort
    from ..errors import InputError
    from ..files import read_json
    from ..recipes import recipe_from_dict
    from .events import JsonLines, ProgressBar, speaks, stop_on_interrupt

    content: dict[str, Any] = {"recipe": args.recipe}
    if args.recipe.endswith(".json"):
        content = read_json(args.recipe)
        if not isinstance(content, dict):
            raise InputError(f"{args.recipe}: the parameters of a recipe by name were expected")
    if args.threads is not None and args.threads < 1:
        raise InputError(f"--threads {args.threads}: at least 1 was expected")
    content |= {name: vars(args)[name] for name in _RECIPE_ARGUMENTS if name in vars(args)}
    search = content.get("alpha") == "auto"
    if search:
        del content["alpha"]
    recipe = recipe_from_dict(content)
    report = JsonLines() if args.json else ProgressBar()
    cohort = read_cohort(args.cohort, seed=args.seed, on_event=report if speaks() else None)
    import torch

    from ..operating_point import Allowance
    from ..training.alpha_search import train_with_largest_alpha
    from ..training.run import train_bundle

    if args.threads:
        torch.set_num_threads(args.threads)
    with closing(report), stop_on_interrupt() as stopped:
        (train_with_largest_alpha if search else train_bundle)(
            cohort,
            recipe,
            args.out,
            seed=args.seed,
            device=args.device,
            resume=args.resume,
            overwrite=args.overwrite,
            allowance=Allowance(args.false_positive_ml, args.false_positive_fraction),
            processing=_processing(args.post_processing),
            reduction=args.reduction,
            on_event=report,
            should_stop=stopped,
        )
    return 0


def _processing(text: str) -> Any:
    """A rule, or the steps in a JSON file."""
    from ..files import read_json
    from ..map_processing import MapProcessing

    return MapProcessing.from_dict(read_json(text)) if text.endswith(".json") else text
