"""`ChainOptions`: which steps the chain runs, and how."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_json
from ..image import mni152_geometry

#: Beside the table of a preprocessed cohort: how its images were made.
RECORD_NAME = "preprocessing.json"

#: All steps, in the order they run (METHODS 1).
STEPS = ("interslice", "registration", "brain", "n4", "match", "standardise")

#: Without N4, which takes the contrast of large lesions away (thesis fig. 1.18), and without
#: histogram matching, which the 2D protocol alone needs.
DEFAULT_STEPS = ("interslice", "registration", "brain", "standardise")

BRAIN_METHODS = ("atlas", "hd-bet")

#: SimpleITK counts in 32 bits, and one seed per channel follows.
_LARGEST_SEED = 2**31 - 2


@dataclass(frozen=True, kw_only=True)
class ChainOptions:
    """Parameters of the preprocessing chain; plain values, so that they fit JSON.

    Attributes
    ----------
    steps : tuple of str
        Any of `STEPS`; they run in that order whatever the order here. Without "registration"
        the images are taken to lie in atlas space already; without "brain" they are taken to be
        skull-stripped (or a mask is given).
    spacing : {1, 2}
        Voxel size of the MNI152 grid, mm.
    atlas : str
        Path of a skull-stripped T1 atlas instead of ICBM152; it brings its own grid.
    brain_method : {"atlas", "hd-bet"}
    allow_download : bool
        HD-BET may fetch its weights.
    interslice_factor : float
        Volumes whose slice spacing exceeds the in-plane one by more than this are interpolated.
    n4_shrink_mm : float
        Voxel size of the grid on which the bias field is estimated.
    reference : str
        Path of the image whose histogram is matched.
    reference_channel : str
        The channel that is matched to it; may be empty where there is one channel.
    robust : bool
        Standardise by median and percentiles rather than mean and deviation.
    background : float
        Value outside the brain.
    seed : int
    """

    steps: tuple[str, ...] = DEFAULT_STEPS
    spacing: float = 1.0
    atlas: str = ""
    brain_method: str = "atlas"
    allow_download: bool = False
    interslice_factor: float = 1.5
    n4_shrink_mm: float = 4.0
    reference: str = ""
    reference_channel: str = ""
    robust: bool = False
    background: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [step for step in self.steps if step not in STEPS]
        if unknown:
            raise InputError(f"step {unknown[0]!r}: expected some of {', '.join(STEPS)}")
        object.__setattr__(self, "steps", tuple(step for step in STEPS if step in self.steps))
        mni152_geometry(self.spacing)
        if self.brain_method not in BRAIN_METHODS:
            raise InputError(
                f"brain extraction {self.brain_method!r}: expected {' or '.join(BRAIN_METHODS)}"
            )
        if not self.interslice_factor >= 1:
            raise InputError(f"inter-slice factor {self.interslice_factor}: at least 1 expected")
        if "match" in self.steps and not self.reference:
            raise InputError("step match: a reference image is needed (--reference)")
        if not self.n4_shrink_mm > 0:
            raise InputError(f"n4_shrink_mm {self.n4_shrink_mm}: a size above 0 was expected")
        if not math.isfinite(self.background):
            raise InputError(f"background {self.background}: a finite value was expected")
        if not 0 <= self.seed <= _LARGEST_SEED:
            raise InputError(f"seed {self.seed}: 0 to {_LARGEST_SEED} was expected")

    def with_steps(self, *, add: tuple[str, ...] = (), drop: tuple[str, ...] = ()) -> ChainOptions:
        """The same options with more or fewer steps."""
        return replace(self, steps=tuple(s for s in (*self.steps, *add) if s not in drop))

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON, without the consent to downloads."""
        content = asdict(self)
        content["steps"] = list(self.steps)
        del content["allow_download"]  # consent is the user's, here and now
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ChainOptions:
        """Inverse of :meth:`to_dict`.

        Raises
        ------
        InputError
            For an unknown option.
        """
        known = {entry.name for entry in fields(cls)}
        unknown = [name for name in content if name not in known]
        if unknown:
            raise InputError(f"preprocessing option {unknown[0]!r}: expected {', '.join(known)}")
        return cls(**{**content, "steps": tuple(content.get("steps", DEFAULT_STEPS))})


def recorded_options(table: str | Path) -> dict[str, Any]:
    """What the images of a cohort went through, in plain form; empty when it was not recorded.

    Parameters
    ----------
    table : path
        The cohort's CSV; `RECORD_NAME` is looked for beside it.

    Raises
    ------
    InputError
        If the record is damaged.
    """
    path = Path(table).absolute().parent / RECORD_NAME
    if not path.is_file():
        return {}
    content = read_json(path)
    try:
        return ChainOptions.from_dict(content["options"]).to_dict()
    except (InputError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a record of preprocessing ({error})") from error
