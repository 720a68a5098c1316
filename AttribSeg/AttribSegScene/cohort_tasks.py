"""Runs on cohorts: preparing all cases, training, evaluating."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from AttribSegLib.bundle_card import BundleCard, read_card
from AttribSegLib.errors import InputError
from AttribSegLib.files import read_json, write_json
from AttribSegLib.jobs import Job

from .arguments import number_argument, path_argument, recipe_argument
from .case_tasks import cohort_channels
from .inputs import scan_from_node
from .plots import TrainingPlot, evaluation_plots
from .runs import command_program, new_run_folder, scan_files, write_scans
from .tables import metrics_table_node
from .task import Task


@dataclass(frozen=True)
class TrainingResult:
    """A trained model.

    Attributes
    ----------
    bundle : BundleCard
        What it is; its ``folder`` is what detection takes.
    plot : TrainingPlot
        Losses and rates of every epoch, as nodes.
    """

    bundle: BundleCard
    plot: TrainingPlot


@dataclass(frozen=True)
class EvaluationResult:
    """How good a model is on a split.

    Attributes
    ----------
    table : vtkMRMLTableNode
        Every figure, with its population and threshold.
    charts : dict of str to vtkMRMLPlotChartNode
        Curves.
    folder : Path
        The report's files; ``evaluation.md`` says the same in words.
    """

    table: Any
    charts: dict[str, Any]
    folder: Path


class TrainTask(Task[TrainingResult]):
    """A training and the plot that grows while it runs."""

    def __init__(self, title: str, job: Job, bundle: Path, plot: TrainingPlot) -> None:
        super().__init__(
            title,
            job,
            lambda card: TrainingResult(card, plot),
            read=lambda: read_card(bundle),
            listen=self._on_event,
        )
        self.plot = plot

    def _on_event(self, event: dict[str, Any]) -> None:
        if event.get("event") == "epoch":
            self.plot.add_epoch(event)
        elif event.get("event") == "history":
            for epoch in event["epochs"]:
                self.plot.add_epoch(epoch)


def prepare_cohort_task(
    cohort: str | Path,
    out: str | Path,
    *,
    spacing: int = 2,
    steps: Sequence[str] | None = None,
    reference: Any = None,
    robust: bool = False,
    jobs: int = 1,
    work_folder: Path,
) -> Task[Path]:
    """Make the run that brings all cases of a cohort to the atlas; cases done before are kept.

    Parameters
    ----------
    cohort : path
        Table of the cohort.
    out : path
        Folder of the prepared one.
    spacing, steps, robust
        As in `preprocess_task`.
    reference : vtkMRMLScalarVolumeNode, optional
        Volume whose histogram FLAIR gets, or the cohort's first channel where there is no FLAIR.
    jobs : int
        Cases at once.
    work_folder : Path

    Returns
    -------
    Task
        Its result is the path of the prepared cohort's table.

    Raises
    ------
    InputError
        If the table is missing, no step is asked for, or the reference is no scan.
    """
    table = _cohort(cohort)
    out = path_argument(out, "folder for the prepared cohort")
    image = None if reference is None else scan_from_node(reference, what="reference")
    arguments = ["preprocess", str(table), "--out", str(out), "--spacing", str(spacing)]
    arguments += ["--jobs", str(jobs)]
    if steps is not None:
        if not steps:
            raise InputError("no preprocessing step is chosen; tick at least one")
        arguments += ["--steps", ",".join(steps)]
    if robust:
        arguments.append("--robust")
    title = f"Preparing the cohort {table.name}"
    folder = new_run_folder(work_folder, "preprocess", "cohort", plain=image is not None)
    files = scan_files(folder, "reference", ["reference"])
    if image is not None:
        channels = cohort_channels(table)
        channel = "FLAIR" if "FLAIR" in channels else channels[0]
        arguments += ["--reference", f"{channel}={files['reference']}"]
    return Task(
        title,
        Job(arguments, folder=folder, program=command_program(), title=title),
        lambda _: Path(out, table.name),
        write=None if image is None else lambda: write_scans({"reference": image}, files),
    )


def train_task(
    cohort: str | Path,
    out: str | Path,
    *,
    recipe: Mapping[str, Any],
    device: str = "auto",
    seed: int = 0,
    false_positive_ml: float = 1.0,
    post_processing: str = "none",
    reduction: str = "labels",
    resume: bool = False,
    overwrite: bool = False,
    scene: Any = None,
    work_folder: Path,
) -> TrainTask:
    """Make the run that trains a model on a cohort.

    Parameters
    ----------
    cohort : path
        Table of the cohort.
    out : path
        Folder of the bundle.
    recipe : mapping
        Parameters, with the recipe's name under ``recipe``; ``alpha`` may be "auto".
    device : {"auto", "cpu", "cuda"}
    seed : int
    false_positive_ml : float
        Allowed per healthy validation image; sets the threshold.
    post_processing : {"none", "labels", "masks"}
    reduction : str
        How the best channel of several is chosen.
    resume, overwrite : bool
        Go on with what is in ``out``, or replace it.
    scene : vtkMRMLScene, optional
        Where the plot goes.
    work_folder : Path

    Raises
    ------
    InputError
        If the table is missing.
    """
    table, out = _cohort(cohort), path_argument(out, "folder for the model")
    recipe, title = recipe_argument(recipe), f"Training {out.name}"
    false_positive_ml = number_argument(false_positive_ml, "allowed false positives")
    folder = new_run_folder(work_folder, "train", Path(out).name or "model")
    write_json(folder / "recipe.json", recipe)
    arguments = [
        *("train", str(table), "--out", str(out), "--recipe", str(folder / "recipe.json")),
        *("--device", device, "--seed", str(seed)),
        *("--false-positive-ml", repr(false_positive_ml)),
        *("--post-processing", post_processing, "--reduction", reduction),
        *(["--resume"] if resume else []),
        *(["--overwrite"] if overwrite else []),
    ]
    return TrainTask(
        title,
        Job(arguments, folder=folder, program=command_program(), title=title),
        Path(out),
        TrainingPlot(scene, f"Training of {Path(out).name}", key=str(Path(out).resolve())),
    )


def evaluate_task(
    cohort: str | Path,
    bundle: str | Path,
    *,
    split: str = "test",
    mask_tuned: bool = False,
    device: str = "auto",
    scene: Any = None,
    work_folder: Path,
) -> Task[EvaluationResult]:
    """Make the run that evaluates a bundle on a split, beside the plain intensity threshold.

    Raises
    ------
    InputError
        If the table or the bundle is missing.
    """
    table, card = _cohort(cohort), read_card(path_argument(bundle, "bundle"))
    title = f"Evaluating {card.folder.name} on {table.name}"
    folder = new_run_folder(work_folder, "evaluate", card.folder.name)
    out = folder / "output"
    arguments = [
        *("evaluate", str(table), "--bundle", str(card.folder), "--out", str(out)),
        *("--split", split, "--device", device, *(["--mask-tuned"] if mask_tuned else [])),
    ]

    def show(evaluation: Any) -> EvaluationResult:
        name = f"{card.folder.name}, {split} split"
        return EvaluationResult(
            metrics_table_node(evaluation, scene=scene, name=f"Evaluation of {name}"),
            evaluation_plots(out / "curves.csv", scene=scene, name=name),
            out,
        )

    return Task(
        title,
        Job(arguments, folder=folder, program=command_program(), title=title),
        show,
        read=lambda: read_json(out / "evaluation.json"),
    )


def _cohort(path: str | Path) -> Path:
    table = path_argument(path, "cohort table")
    if not table.is_file():
        raise InputError(f"{table}: choose the table (CSV) of a cohort")
    return table
