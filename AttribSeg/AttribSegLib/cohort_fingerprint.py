"""What results were made from: a fingerprint of a cohort, and the patients a model has seen.

Counts of cases do not tell one cohort from another: other splits, a corrected mask or images
that were preprocessed anew leave them as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .cohort import Case, Cohort
from .files import full_suffix, stem

#: Headers whose voxels lie in another file beside them.
_DETACHED = (".mhd", ".nhdr")


def cohort_fingerprint(cohort: Cohort, splits: Collection[str] | None = None) -> str:
    """Hash of the rows of a cohort, and of name, size and time of every file in them.

    Folders do not count, so that a cohort can be moved (with the times of its files); the order
    of the cases does, as a training depends on it. No image is read.

    Parameters
    ----------
    cohort : Cohort
    splits : collection of str, optional
        Only cases of these; all of them by default.

    Returns
    -------
    str
        SHA-256 in hexadecimal digits.
    """
    known: dict[Path, list[Any]] = {}  # all slices of a volume name the same files

    def stamp(path: Path | None) -> list[Any] | None:
        if path is None:
            return None
        if path not in known:
            known[path] = [path.name, *(_stamp(file) for file in _files_of(path))]
        return known[path]

    rows = [
        {
            "case": case.case,
            "patient": case.patient,
            "label": case.label,
            "split": case.split,
            "slice": case.slice,
            "nominal_spacing": case.nominal_spacing,
            "channels": [[name, stamp(path)] for name, path in case.channels.items()],
            "brain": stamp(case.brain),
            "lesions": stamp(case.lesions),
        }
        for case in cohort.cases
        if splits is None or case.split in splits
    ]
    facts = {"channels": list(cohort.channels), "cases": rows}
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def patients_seen(bundle_record: Mapping[str, Any], cases: Sequence[Case]) -> list[str]:
    """Patients of cases that a model was trained or validated on.

    Parameters
    ----------
    bundle_record : mapping
        Record of a bundle, with the :func:`patient_marks` it was made from.
    cases : sequence of Case

    Returns
    -------
    list of str
        In alphabetical order; empty where the record does not name its patients (those of older
        versions do not).
    """
    seen = set(bundle_record.get("training_patients") or ())
    return sorted({case.patient for case in cases if _mark(case.patient) in seen})


def patient_marks(cases: Iterable[Case]) -> list[str]:
    """What stands for the patients of cases in a record: a hash each, in order.

    Bundles are passed on; names of patients are not.
    """
    return sorted({_mark(case.patient) for case in cases})


def _mark(patient: str) -> str:
    return hashlib.sha256(patient.encode("utf-8")).hexdigest()[:16]


def _files_of(path: Path) -> list[Path]:
    """The files that an image is read from, in a fixed order."""
    if path.is_dir():  # a DICOM series
        return sorted(file for file in path.iterdir() if file.is_file())
    if full_suffix(path) in _DETACHED and path.parent.is_dir():
        # The file of the voxels bears the name of the header in all but hand-written ones.
        return sorted({path, *(p for p in path.parent.iterdir() if stem(p) == stem(path))})
    return [path]


def _stamp(path: Path) -> list[Any]:
    try:
        found = path.stat()
    except OSError:  # what is missing is told where it is read
        return [path.name]
    return [path.name, found.st_size, found.st_mtime_ns]
