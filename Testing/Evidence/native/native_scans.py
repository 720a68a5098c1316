"""The raw patient's scans, their detections as a user makes them, and the way to common space."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from AttribSegLib.files import read_json
from AttribSegLib.image import Image
from AttribSegLib.image_io import read_image, write_image
from AttribSegLib.provenance import file_hash
from AttribSegLib.transform import Affine, read_transform
from study import Study, attribseg

EVIDENCE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(EVIDENCE / "ms-3d"))
from ms_models import Model, train  # noqa: E402
from simulated_ms import cohort_of  # noqa: E402

CHANNELS = {"FLAIR": "FLAIR", "T1": "T1W"}


def trainer_of(study: Study) -> Study:
    """The study ms-3d in the same setting, whose models are used here."""
    return Study(EVIDENCE / "ms-3d", study.setting, study.jobs)


def models(study: Study) -> dict[str, Path]:
    """Folder of each model's bundle; trained by ms-3d's own function where it is not there."""
    trainer = trainer_of(study)
    cohort = cohort_of(trainer)
    seed = study.settings["seed_of_models"]
    return {name: train(trainer, Model(name, seed), cohort) for name in study.settings["models"]}


def raw_folder(study: Study) -> Path:
    """Folder of the raw patient."""
    return study.data / "ms" / "raw" / "patient01"


def scans(study: Study, visit: str) -> dict[str, Path]:
    """Files of a visit, by channel."""
    folder = raw_folder(study)
    return {name: folder / f"{visit}_{part}.nii.gz" for name, part in CHANNELS.items()}


def turned_scans(study: Study, visit: str) -> dict[str, Path]:
    """The same scans with their axes in another order and sense; nothing moves in the patient."""
    found = {}
    for name, path in scans(study, visit).items():
        turned = study.work / "turned" / path.name
        if not turned.is_file():
            turned.parent.mkdir(exist_ok=True)
            write_image(read_image(path).reorient(study.settings["turned_to"]), turned)
        found[name] = turned
    return found


@dataclass(frozen=True)
class Found:
    """What ``attribseg detect`` left of one visit."""

    folder: Path
    name: str

    @property
    def summary(self) -> dict[str, Any]:
        """Content of ``detection.json``."""
        return dict(read_json(self.folder / "detection.json"))

    def native(self, kind: str) -> Image:
        """``attribution`` or ``lesions`` in the scan's own space."""
        return read_image(self.folder / f"{self.name}_{kind}.nii.gz")

    def atlas(self, kind: str) -> Image:
        """``attribution``, ``lesions``, ``brain`` or a channel in atlas space."""
        return read_image(self.folder / "atlas" / f"{self.name}_{kind}.nii.gz")

    def to_atlas(self, channel: str) -> Affine:
        """From a scan's space to the atlas."""
        return read_transform(self.folder / "atlas" / f"{self.name}_{channel}_to_atlas.tfm")


def detect_once(files: Mapping[str, Path], bundle: Path, out: Path) -> Found:
    """Detect as a user would, unless the result of this very model is there."""
    name = files["FLAIR"].name.removesuffix(".nii.gz")
    found = Found(out / name, name)
    weights = file_hash([bundle / "models" / "model.safetensors"])
    done = (found.folder / "detection.json").is_file()
    if not (done and found.summary["record"]["bundle_sha256"] == weights):
        given = ",".join(f"{channel}={path}" for channel, path in files.items())
        attribseg("detect", given, "--bundle", str(bundle), "--out", str(out))
    return found


@dataclass(frozen=True)
class Visit:
    """A visit with one model: its detection and the way to the authors' common space."""

    name: str
    found: Found
    flair: Image
    to_common: Affine
    common: Image

    def in_common(self, image: Image) -> Image:
        """A native map on the authors' grid."""
        return image.resample(self.common.geometry, transform=self.to_common)

    def from_atlas(self, image: Image) -> Image:
        """A map in atlas space on the authors' grid, interpolated once."""
        way = self.to_common @ self.found.to_atlas("FLAIR").inverse()
        return image.resample(self.common.geometry, transform=way)


def visit_of(study: Study, name: str, found: Found) -> Visit:
    """A visit's detection with what is needed to compare it."""
    folder = raw_folder(study)
    mask = read_image(folder / "common_space_brainmask.nii.gz")
    return Visit(
        name=name,
        found=found,
        flair=read_image(scans(study, name)["FLAIR"]),
        to_common=read_transform(folder / f"{name}_FLAIR_to_common_space.txt"),
        common=mask.with_array(mask.array > 0),
    )
