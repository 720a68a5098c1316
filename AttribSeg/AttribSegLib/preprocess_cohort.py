"""Preprocessing of whole cohorts: in parallel, resumable, one failure never stops the rest."""

from __future__ import annotations

import glob
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from . import __version__
from .cohort import Case, Cohort, write_cohort
from .errors import InputError
from .files import atomic_folder, make_folder, read_json, write_json
from .image_io import read_image, write_image
from .preprocess_montage import save_montage
from .preprocess_report import ReportRow, write_quality_table, write_report
from .preprocessing.atlas import load_atlas
from .preprocessing.chain import matching_reference, prepare, reference_channel
from .preprocessing.options import RECORD_NAME, ChainOptions
from .provenance import file_hash, record, versions
from .task_pool import run_tasks
from .transform import write_transform

#: Headers whose voxels are in files beside them.
_DETACHED = (".mhd", ".nhdr", ".hdr")

OnEvent = Callable[[dict[str, Any]], None]
OnStep = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class CaseResult:
    """What became of one case.

    Attributes
    ----------
    case : Case
        Of the input cohort.
    status : {"done", "skipped", "failed"}
        Skipped: done before, with the same inputs and options.
    reason : str
        Of a failure.
    warnings : tuple of str
    quality : dict of float
    seconds : float
    """

    case: Case
    status: str
    reason: str = ""
    warnings: tuple[str, ...] = ()
    quality: dict[str, float] | None = None
    seconds: float = 0.0


def preprocess_cohort(
    cohort: Cohort,
    out: str | Path,
    options: ChainOptions,
    *,
    jobs: int = 1,
    dask: str = "",
    force: bool = False,
    on_event: OnEvent | None = None,
) -> list[CaseResult]:
    """Prepare every case of a cohort and write a new cohort of the results.

    Parameters
    ----------
    cohort : Cohort
        Of raw volumes, one per channel.
    out : path
        Gets ``cases/NAME/`` per case, and at the end ``cohort.csv``, ``quality.csv``,
        ``report.html`` with a montage of every case, and ``preprocessing.json``, which tells a
        bundle trained on this cohort what to expect.
    options : ChainOptions
    jobs : int
        Processes that work at the same time, one case each.
    dask : str
        Address of a Dask scheduler to work on instead (see `run_tasks`).
    force : bool
        Also cases that were done before with the same inputs and options.
    on_event : callable, optional
        Called with ``{"event": "progress", "done", "total", "case", "status", "reason",
        "warnings", "seconds_left"}`` after every case, and where they are worked on one by one
        with ``{"event": "step", "step", "channel", "case", "done", "total"}`` before every step
        of one; whatever it raises stops the run, and cases that are done stay.

    Returns
    -------
    list of CaseResult
        In the order of the cohort.

    Raises
    ------
    InputError
        If the cohort holds slices or nominal spacings, its files lie where the results go, the
        atlas or the reference cannot be used, the cluster does not answer, or all cases failed.
    """
    for case in cohort.cases:
        if case.slice is not None or case.nominal_spacing:
            raise InputError(
                f"case {case.case}: slices and images of unknown voxel size cannot be "
                "preprocessed; whole volumes with their true geometry were expected"
            )
    options = _settled(options, cohort)
    # Workers of a cluster start elsewhere.
    folder = make_folder(Path(out).absolute())
    _protect_inputs(cohort, folder)
    tasks = [_Task(case, folder / "cases" / case.case, options, force) for case in cohort.cases]
    found: dict[str, CaseResult] = {}

    def step(case: str, event: dict[str, Any]) -> None:
        if on_event is not None:
            on_event({**event, "case": case, "done": len(found), "total": len(tasks)})

    here = jobs == 1 and not dask  # a function of this process cannot be called from another
    outcomes = run_tasks(
        partial(_timed, on_step=step if here else None), tasks, jobs=jobs, dask=dask
    )
    (folder / "cohort.csv").unlink(missing_ok=True)
    start = time.monotonic()
    for done, (task, outcome) in enumerate(outcomes, start=1):
        result = outcome if isinstance(outcome, CaseResult) else _failed(task.case, outcome)
        if result.status == "done" and not _complete(task.case, task.folder):
            lost = InputError(
                f"{task.folder}: the results are not here; the workers must see the same files"
            )
            result = _failed(task.case, lost)
        found[result.case.case] = result
        if on_event is not None:
            left = (time.monotonic() - start) / done * (len(tasks) - done)
            on_event(
                {
                    "event": "progress",
                    "done": done,
                    "total": len(tasks),
                    "case": result.case.case,
                    "status": result.status,
                    "reason": result.reason,
                    "warnings": list(result.warnings),
                    "seconds_left": round(left, 1),
                }
            )
    results = [found[case.case] for case in cohort.cases]
    rows = [_report_row(result) for result in results]
    write_quality_table(rows, folder / "quality.csv")
    known, made_by = options.to_dict(), versions()
    record_path = folder / RECORD_NAME
    write_json(record_path, {"options": known, "versions": made_by, "source": cohort.source})
    page = folder / "report.html"
    write_report(rows, page, source=cohort.source, options=known, versions=made_by)
    good = [result.case for result in results if result.status != "failed"]
    if not good:
        raise InputError(f"{cohort.source}: every case failed; the first: {results[0].reason}")
    prepared = tuple(_prepared_case(case, folder / "cases" / case.case) for case in good)
    write_cohort(Cohort(prepared, cohort.channels, str(folder)), folder / "cohort.csv")
    return results


def _failed(case: Case, error: Exception) -> CaseResult:
    reason = str(error) if isinstance(error, InputError) else repr(error)
    return CaseResult(case, "failed", f"{case.case}: {reason}")


@dataclass(frozen=True)
class _Task:
    case: Case
    folder: Path
    options: ChainOptions
    force: bool


def _timed(task: _Task, on_step: OnStep | None = None) -> CaseResult:
    start = time.monotonic()
    done = _process(task, on_step)
    return replace(done, seconds=round(time.monotonic() - start, 2))


def _settled(options: ChainOptions, cohort: Cohort) -> ChainOptions:
    """Options with absolute paths, whose files are read once before anything runs."""
    if options.atlas:
        options = replace(options, atlas=str(Path(options.atlas).absolute()))
    if options.reference:
        options = replace(options, reference=str(Path(options.reference).absolute()))
    load_atlas(options.atlas)
    found = matching_reference(options, cohort.channels)
    return replace(options, reference_channel=found[0]) if found else options


def _protect_inputs(cohort: Cohort, folder: Path) -> None:
    """Refuse a folder in which results would replace what they are made of."""
    if (folder / "cohort.csv").resolve() == Path(cohort.source).resolve():
        raise InputError(f"{cohort.source}: would be overwritten; choose another output folder")
    cases = (folder / "cases").resolve()
    for case in cohort.cases:
        for path in _roles(case).values():
            if path.resolve().is_relative_to(cases):
                raise InputError(
                    f"{path}: lies in the folder of the results, {cases}, where it would be "
                    "replaced; choose another output folder"
                )


def _roles(case: Case) -> dict[str, Path]:
    """The files of a case by what they are."""
    masks = {"brain": case.brain, "lesions": case.lesions}
    return {**case.channels, **{role: path for role, path in masks.items() if path is not None}}


def _process(task: _Task, on_step: OnStep | None) -> CaseResult:
    case = task.case
    on_event = None if on_step is None else partial(on_step, case.case)
    inputs = {role: _image_hash(path) for role, path in _roles(case).items()}
    key = _key(inputs, task.options)
    target = task.folder / f"{case.case}.json"
    if target.is_file():
        known = read_json(target)
        if known.get("key") == key and not task.force and _complete(case, task.folder):
            return CaseResult(case, "skipped", "", tuple(known["warnings"]), known["quality"])
    elif task.folder.is_dir() and any(task.folder.iterdir()):
        raise InputError(
            f"{task.folder}: holds files of another kind, which would be replaced; choose another "
            "output folder"
        )
    channels = {name: read_image(path) for name, path in case.channels.items()}
    brain = None if case.brain is None else read_image(case.brain)
    prepared = prepare(channels, task.options, brain=brain, on_event=on_event)
    with atomic_folder(task.folder) as folder:
        for name, image in prepared.channels.items():
            write_image(image, folder / f"{case.case}_{name}.nii.gz")
            write_transform(prepared.transforms[name], folder / f"{case.case}_{name}_to_atlas.tfm")
        write_image(prepared.brain, folder / f"{case.case}_brain.nii.gz")
        if case.lesions is not None:
            lesions = read_image(case.lesions)
            same = [n for n, i in channels.items() if i.geometry.same_grid(lesions.geometry)]
            grid = same[0] if same else reference_channel(channels)
            mask = prepared.to_atlas(lesions.with_array(lesions.array != 0), grid)
            write_image(mask, folder / f"{case.case}_lesions.nii.gz")
        picture = folder / f"{case.case}_montage.png"
        save_montage(picture, channels, prepared, load_atlas(task.options.atlas), case.case)
        details = {
            "key": key,
            "warnings": list(prepared.warnings),
            "quality": prepared.quality,
            "preprocessing": prepared.summary(),
            "record": record(inputs_sha256=inputs, options=task.options.to_dict()),
        }
        write_json(folder / f"{case.case}.json", details)
    return CaseResult(case, "done", "", prepared.warnings, prepared.quality)


def _image_hash(path: Path) -> str:
    """Hash of an image: its file, all files of a folder, or a header with its detached data."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file())
    elif path.suffix in _DETACHED:
        files = sorted(path.parent.glob(f"{glob.escape(path.stem)}.*"))
    else:
        files = [path]
    try:
        return file_hash(files)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _key(inputs: dict[str, str], options: ChainOptions) -> str:
    """What a result depends on: the files, the options (with what they name) and the version."""
    named = [_image_hash(Path(p)) for p in (options.atlas, options.reference) if p]
    content = [inputs, options.to_dict(), named, __version__]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _complete(case: Case, folder: Path) -> bool:
    """Whether all files are there that the new cohort names."""
    return all(path.is_file() for path in _roles(_prepared_case(case, folder)).values())


def _report_row(result: CaseResult) -> ReportRow:
    name = result.case.case
    failed = result.status == "failed"
    return ReportRow(
        name,
        "flagged" if result.warnings else result.status,
        result.reason,
        result.warnings,
        result.quality or {},
        result.seconds,
        "" if failed else f"cases/{name}",
        "" if failed else f"cases/{name}/{name}_montage.png",
    )


def _prepared_case(case: Case, folder: Path) -> Case:
    def path(kind: str) -> Path:
        return folder / f"{case.case}_{kind}.nii.gz"

    return replace(
        case,
        channels={name: path(name) for name in case.channels},
        brain=path("brain"),
        lesions=None if case.lesions is None else path("lesions"),
    )
