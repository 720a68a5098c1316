"""Brain tumours as they lie in their zip: grey slices, four classes, no patients.

Many files are there several times, and slices of one patient look alike; what looks alike is kept
in one fold, as far as it can be told without names.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from AttribSegLib.errors import InputError

#: Side of the thumbnails that are compared.
THUMBNAIL = 16
#: The inner validation part is one of so many parts of what a fold trains on.
INNER_PARTS = 7


@dataclass(frozen=True)
class BrainTumours:
    """All images, of both folders of the zip.

    Parameters
    ----------
    classes : tuple of str
    images : ndarray of shape (N, I, J), uint8
    labels : ndarray of shape (N,)
    from_val : ndarray of shape (N,), bool
        Whether the image lies in val/ of the zip.
    digests : ndarray of shape (N,)
        Of the files: equal ones are the same image.
    groups : ndarray of shape (N,)
        Images that look alike have the same number.
    thumbnails : ndarray of shape (N, THUMBNAIL ** 2)
        Coarse images of mean zero and unit length: their products are correlations.
    """

    classes: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    from_val: np.ndarray
    digests: np.ndarray
    groups: np.ndarray
    thumbnails: np.ndarray


def read_brain_tumours(path: Path, *, size: int, alike: float) -> BrainTumours:
    """Read the images, averaged to a size.

    Parameters
    ----------
    path : Path
        The zip, with entries train/CLASS/NAME.jpg and val/CLASS/NAME.jpg.
    size : int
        Side of the images, in pixels.
    alike : float
        See :func:`groups_of_alike`.

    Raises
    ------
    InputError
        If the zip has no such entries, or the size is none.
    """
    from PIL import Image

    if size < 1:
        raise InputError(f"size {size}: at least 1 pixel was expected")
    images, coarse, names, from_val, digests = [], [], [], [], []
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            folder = name.split("/")
            if len(folder) != 3 or folder[0] not in ("train", "val") or not name.endswith(".jpg"):
                continue
            content = archive.read(name)
            with Image.open(io.BytesIO(content)) as opened:
                grey = opened.convert("L")
                images.append(np.asarray(grey.resize((size, size), Image.Resampling.BOX)))
                small = grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
                coarse.append(np.asarray(small, dtype=np.float32).ravel())
            names.append(folder[1])
            from_val.append(folder[0] == "val")
            digests.append(hashlib.sha256(content).hexdigest())
    if not images:
        raise InputError(f"{path}: entries train/CLASS/*.jpg and val/CLASS/*.jpg were expected")
    classes = tuple(sorted(set(names)))
    thumbnails, files = normed(np.stack(coarse)), np.array(digests)
    return BrainTumours(
        classes,
        np.stack(images),
        np.array([classes.index(name) for name in names]),
        np.array(from_val),
        files,
        groups_of_alike(thumbnails, files, alike),
        thumbnails,
    )


def normed(thumbnails: np.ndarray) -> np.ndarray:
    """Rows of mean zero and unit length; a row of one grey value becomes zero."""
    centred = thumbnails - thumbnails.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.where(length > 0, length, 1)


def groups_of_alike(thumbnails: np.ndarray, digests: np.ndarray, correlation: float) -> np.ndarray:
    """Group of every image: those linked by equal files or by thumbnails that correlate.

    Links are followed from image to image, so that two images of a group may differ more.

    Parameters
    ----------
    thumbnails : ndarray of shape (N, M)
        See :func:`normed`.
    digests : ndarray of shape (N,)
    correlation : float
        Above which two images are alike.

    Returns
    -------
    ndarray of shape (N,)
        Numbers from 0.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    alike = (thumbnails @ thumbnails.T > correlation) | (digests[:, None] == digests)
    return connected_components(csr_array(alike), directed=False)[1]


def folds_of(
    labels: np.ndarray, groups: np.ndarray, count: int, *, seed: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Indices of what is trained on, of the inner part and of the reported part, fold by fold.

    Every image is reported once; classes have about equal shares everywhere; no group is in two
    of the three.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    outer = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    inside = StratifiedGroupKFold(INNER_PARTS, shuffle=True, random_state=seed)
    for rest, test in outer.split(labels, labels, groups):
        train, inner = next(iter(inside.split(rest, labels[rest], groups[rest])))
        yield rest[train], rest[inner], test


def nearest_accuracy(
    thumbnails: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray
) -> float:
    """Accuracy of giving each image the class of the most similar one that is trained on."""
    nearest = train[(thumbnails[test] @ thumbnails[train].T).argmax(axis=1)]
    return float(np.mean(labels[nearest] == labels[test]))
