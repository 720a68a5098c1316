"""MedNIST as it lies in its zip: grey images of 64 x 64, six classes, no patients."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from AttribSegLib.errors import InputError
from labelled_images import Images

#: Share of train/ that learning rates and epochs are chosen on.
INNER = 0.15


@dataclass(frozen=True)
class MedNist:
    """The three parts and the names of the classes."""

    classes: tuple[str, ...]
    train: Images
    inner: Images
    test: Images


def read_mednist(path: Path, *, seed: int = 0) -> MedNist:
    """Read all images into memory; val/ is the test part, the inner part is cut from train/.

    The inner part is drawn class by class. All parts are in a random order, and standardised by
    the mean and standard deviation of what is trained on.

    Parameters
    ----------
    path : Path
        The zip, with entries train/CLASS/NAME.jpeg and val/CLASS/NAME.jpeg.
    seed : int
        Of the draw and of the orders.

    Raises
    ------
    InputError
        If the zip has no such entries.
    """
    parts: dict[str, tuple[list[np.ndarray], list[str]]] = {"train": ([], []), "val": ([], [])}
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            folder = name.split("/")
            if len(folder) == 3 and folder[0] in parts and name.endswith(".jpeg"):
                parts[folder[0]][0].append(_image(archive.read(name)))
                parts[folder[0]][1].append(folder[1])
    if not parts["train"][0] or not parts["val"][0]:
        raise InputError(f"{path}: entries train/CLASS/*.jpeg and val/CLASS/*.jpeg were expected")
    classes = tuple(sorted(set(parts["train"][1])))
    generator = np.random.default_rng(seed)
    labels = np.array([classes.index(each) for each in parts["train"][1]])
    inner = inner_part(labels, generator)
    train = generator.permutation(np.setdiff1d(np.arange(len(labels)), inner))
    images = np.stack(parts["train"][0]).astype(np.float32)
    mean, std = images[train].mean(), images[train].std()

    def part(x: np.ndarray, y: np.ndarray, chosen: np.ndarray) -> Images:
        standardised = (x[chosen, None].astype(np.float32) - mean) / std
        return Images(torch.from_numpy(standardised), torch.from_numpy(y[chosen]))

    test = np.array([classes.index(each) for each in parts["val"][1]])
    return MedNist(
        classes,
        part(images, labels, train),
        part(images, labels, generator.permutation(inner)),
        part(np.stack(parts["val"][0]), test, generator.permutation(len(test))),
    )


def inner_part(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Indices of a share :data:`INNER` of every class, sorted."""
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        chosen.append(generator.permutation(members)[: round(INNER * len(members))])
    return np.sort(np.concatenate(chosen))


def _image(data: bytes) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("L"))
