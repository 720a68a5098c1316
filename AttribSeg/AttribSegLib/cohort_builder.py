"""Cohorts out of folders: one folder per class, or a BIDS dataset."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from .cohort import LABELS, Case, Cohort, make_cohort
from .errors import CohortError, InputError
from .files import full_suffix, stem
from .image_io import SUFFIXES

#: Last part of a file name -> channel.
_CHANNELS = {
    **{name: name for name in ("FLAIR", "T1", "T2", "PD", "T1CE", "DWI", "ADC", "SWI")},
    **{"T1W": "T1", "T2W": "T2", "PDW": "PD"},
}
_LESIONS = ("lesions", "lesion", "lesionmask", "mask", "roi")
_BRAIN = ("brain", "brainmask")

_GROUP_COLUMNS = ("group", "diagnosis", "label", "dx")
_HEALTHY = "0 con cn control controls ctrl hc healthy healthycontrol hv nc normal"
_PATHOLOGICAL = "1 fcd epilepsy ms patient patients pathological pt rrms ppms spms stroke tumor"
_MISSING = ("", "n/a", "na", "nan", "unknown")


def cohort_from_folders(
    root: str | Path,
    *,
    seed: int = 0,
    channels: Sequence[str] | None = None,
    nominal_spacing: bool = False,
) -> Cohort:
    """Make a cohort of ``root/healthy`` and ``root/pathological``.

    Each holds images, one per case (``NAME_FLAIR.nii.gz`` and ``NAME_T1.nii.gz`` are channels of
    case NAME, a name without such an ending is a FLAIR; ``NAME_lesions`` and ``NAME_brain`` are
    its masks), or one folder per case with ``FLAIR.nii.gz``, ``T1.nii.gz``, ``lesions.nii.gz``,
    ``brain.nii.gz`` or DICOM series in folders of these names, or with one DICOM series itself.
    A name found in both classes is taken as one patient, which keeps it in one split.

    Parameters
    ----------
    seed : int
        Of the split by patient (see :func:`.assign_splits`).
    channels : sequence of str, optional
        Use these only; all that are found otherwise.
    nominal_spacing : bool
        The voxel sizes are unknown.

    Raises
    ------
    InputError
        If there are no such folders.
    CohortError
        Lists every fault of the folders and of their images at once.
    """
    root = Path(root).absolute()
    found: dict[tuple[str, int], dict[str, Path]] = {}
    faults: list[str] = []
    for label, name in enumerate(LABELS):
        folder = root / name
        if not folder.is_dir():
            raise InputError(
                f"{root}: no folder {name}; expected one folder healthy and one pathological"
            )
        for path in _visible(folder):
            if path.is_dir():
                files = _case_folder(path, faults)
            elif full_suffix(path) in SUFFIXES:
                files = {}
            else:
                continue
            case, role = (path.name, "") if path.is_dir() else _role_of(stem(path))
            for key, file in (files or {role or "FLAIR": path}).items():
                _add(found.setdefault((case, label), {}), key, file, case, faults)
    names = Counter(case for case, _ in found)
    cases = [
        _case(
            f"{LABELS[label]}-{name}" if names[name] > 1 else name,
            _bids_subject(name) or name,
            label,
            files,
            nominal_spacing,
        )
        for (name, label), files in sorted(found.items())
    ]
    return _finish(cases, faults, root, seed, channels)


def cohort_from_bids(
    root: str | Path,
    *,
    seed: int = 0,
    healthy: Iterable[str] = (),
    group_column: str | None = None,
    channels: Sequence[str] | None = None,
    nominal_spacing: bool = False,
) -> Cohort:
    """Make a cohort of a BIDS dataset; sessions are cases of one patient.

    Images are ``sub-*/[ses-*/]anat/*_{FLAIR,T1w,T2w}.nii[.gz]``, lesion masks the files under
    ``derivatives`` or ``anat`` whose name says lesion or ends in roi. Participants of
    ``participants.tsv`` without images are left out.

    Parameters
    ----------
    healthy : iterable of str
        Values of the group column that mean healthy; all others then mean pathological. By
        default usual words are recognised (control, HC, ... and patient, MS, ...).
    group_column : str, optional
        Column of ``participants.tsv``; group, diagnosis, label or dx by default.
    seed, channels, nominal_spacing
        See :func:`cohort_from_folders`.

    Raises
    ------
    InputError
        If ``participants.tsv`` or its group column is missing, or a value is not understood.
    CohortError
        Lists every fault of the dataset and of its images at once.
    """
    root = Path(root).absolute()
    labels = _labels_of(root / "participants.tsv", list(healthy), group_column)
    derived = [p for p in sorted(root.glob("derivatives/**/sub-*")) if _is_lesion_mask(p)]
    cases: list[Case] = []
    faults: list[str] = []
    for subject in sorted(path for path in root.glob("sub-*") if path.is_dir()):
        for session in sorted(p for p in subject.glob("ses-*") if p.is_dir()) or [subject]:
            name = subject.name if session == subject else f"{subject.name}_{session.name}"
            files: dict[str, Path] = {}
            images = [
                p for p in _visible(session / "anat") if full_suffix(p) in (".nii", ".nii.gz")
            ]
            for path in images:
                _, role = _role_of(stem(path))
                if role in _CHANNELS.values():
                    _add(files, role, path, name, faults)
            if not files:
                continue
            masks = [p for p in images if _is_lesion_mask(p)]
            for path in masks or derived:
                parts = stem(path).split("_")
                if set(name.split("_")) <= set(parts) or path in masks:
                    _add(files, "lesions", path, name, faults)
            label = labels.get(subject.name)
            if label is None:
                faults.append(f"case {name}: {subject.name} has no group in participants.tsv")
            else:
                cases.append(_case(name, subject.name, label, files, nominal_spacing))
    return _finish(cases, faults, root, seed, channels)


def _labels_of(table: Path, healthy: list[str], column: str | None) -> dict[str, int]:
    """Label per participant; participants without a group are left out."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{table}: cannot be read; a BIDS dataset has this table") from error
    rows = list(csv.DictReader(text.splitlines(), delimiter="\t"))
    columns = list(rows[0]) if rows else []
    if "participant_id" not in columns:
        raise InputError(f"{table}: no row or no column participant_id")
    if column is None:
        candidates = [name for name in columns if name and name.lower() in _GROUP_COLUMNS]
        if len(candidates) != 1:
            raise InputError(
                f"{table}: {'several columns' if candidates else 'no column'} may hold the group "
                f"({', '.join(candidates or columns)}); say which with --group-column"
            )
        column = candidates[0]
    elif column not in columns:
        raise InputError(f"{table}: no column {column!r}; it has {', '.join(columns)}")
    groups = {
        _subject(row["participant_id"] or ""): value
        for row in rows
        if (value := (row[column] or "").strip()).lower() not in _MISSING
    }
    counts = Counter(groups.values())
    listed = ", ".join(f"{value} ({count})" for value, count in sorted(counts.items()))
    if healthy:
        wanted = {value.strip().lower() for value in healthy}
        strangers = sorted(wanted - {value.lower() for value in counts})
        if strangers:
            raise InputError(
                f"{table}: no {column} is {', '.join(strangers)}; its values are {listed}"
            )
        return {subject: int(value.lower() not in wanted) for subject, value in groups.items()}
    meaning = dict.fromkeys(_HEALTHY.split(), 0) | dict.fromkeys(_PATHOLOGICAL.split(), 1)
    plain = {value: re.sub(r"[\s_-]", "", value.lower()) for value in counts}
    if any(word not in meaning for word in plain.values()):
        raise InputError(
            f"{table}: which {column} is healthy is not clear; its values are {listed}. Say which "
            "with --healthy VALUE[,VALUE]; all others are then pathological"
        )
    return {subject: meaning[plain[value]] for subject, value in groups.items()}


def _finish(
    cases: list[Case], faults: list[str], root: Path, seed: int, channels: Sequence[str] | None
) -> Cohort:
    """Give every case the same channels, check all and split by patient."""
    known = dict.fromkeys(_CHANNELS.values())
    present = [name for name in known if any(name in case.channels for case in cases)]
    wanted = tuple(channels or present)
    faults = list(faults)
    complete = []
    for case in cases:
        lacking = [name for name in wanted if name not in case.channels]
        if lacking:
            faults.append(
                f"case {case.case}: no {', '.join(lacking)}; add it, or choose the channels that "
                "every case has with --channels"
            )
        chosen = {name: case.channels[name] for name in wanted if name in case.channels}
        complete.append(replace(case, channels=chosen))
    if not cases:
        raise CohortError(str(root), [*faults, "no image found"])
    return make_cohort(complete, source=str(root), seed=seed, faults=[(0, f) for f in faults])


def _case(name: str, patient: str, label: int, files: dict[str, Path], nominal: bool) -> Case:
    images = {role: path for role, path in files.items() if role not in ("brain", "lesions")}
    brain, lesions = files.get("brain"), files.get("lesions")
    return Case(name, patient, label, "", images, brain, lesions, nominal_spacing=nominal)


def _case_folder(folder: Path, faults: list[str]) -> dict[str, Path]:
    """Role -> path of the files of one case; the folder may itself be a DICOM series."""
    entries = _visible(folder)
    parts = [p for p in entries if p.is_dir() or full_suffix(p) in SUFFIXES]
    if not parts:
        return {"FLAIR": folder} if entries else {}
    files: dict[str, Path] = {}
    for path in parts:
        _, role = _role_of(path.name if path.is_dir() else stem(path))
        if role or len(parts) == 1:
            _add(files, role or "FLAIR", path, folder.name, faults)
        else:
            faults.append(
                f"case {folder.name}: what is {path.name}? Call images FLAIR or T1, masks "
                "lesions or brain, alone or after an underscore"
            )
    return files


def _add(files: dict[str, Path], role: str, path: Path, case: str, faults: list[str]) -> None:
    other = files.setdefault(role, path)
    if other != path:
        faults.append(f"case {case}: two files for {role} ({other.name}, {path.name}); keep one")


def _role_of(name: str) -> tuple[str, str]:
    """Name of the case and role of the file; no role when its ending is not a known one.

    >>> _role_of("p01_T1w"), _role_of("p01_brain_mask"), _role_of("p01")
    (('p01', 'T1'), ('p01', 'brain'), ('p01', ''))
    """
    parts = name.split("_")
    last = parts[-1]
    if last.lower() == "mask" and len(parts) > 1 and parts[-2].lower() in (*_BRAIN, *_LESIONS):
        parts, last = parts[:-1], parts[-2]
    if last.upper() in _CHANNELS:
        role = _CHANNELS[last.upper()]
    elif last.lower() in _BRAIN:
        role = "brain"
    elif last.lower() in _LESIONS:
        role = "lesions"
    else:
        return name, ""
    return "_".join(parts[:-1]), role


def _is_lesion_mask(path: Path) -> bool:
    if full_suffix(path) not in (".nii", ".nii.gz") or "prob" in path.name.lower():
        return False
    return "lesion" in path.name.lower() or stem(path).endswith("_roi")


def _subject(text: str) -> str:
    return text if text.startswith("sub-") else f"sub-{text}"


def _bids_subject(name: str) -> str:
    """The patient of a file named as in BIDS (``sub-01_ses-2``), or nothing."""
    match = re.match(r"(sub-[A-Za-z0-9]+)(_|$)", name)
    return match[1] if match else ""


def _visible(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
