"""Fixtures shared by the tests: grids of every orientation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from AttribSegLib.image import Geometry

_SIZE, _SPACING, _ORIGIN = (11, 9, 7), (1.0, 1.2, 1.5), (-12.5, 20.0, 3.25)


def _rotation(*degrees: float) -> np.ndarray:
    """Rotations about the L, P and S axes, in that order."""
    result = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        c, s = np.cos(angle), np.sin(angle)
        turn = np.eye(3)
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn[first, first], turn[first, second] = c, -s
        turn[second, first], turn[second, second] = s, c
        result = turn @ result
    return result


#: Columns are the directions of I, J, K in LPS.
_SAGITTAL = np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]])
_CORONAL = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
_OBLIQUE = _rotation(20.0, -15.0, 30.0)

GEOMETRIES = {
    "axial": Geometry(_SIZE, _SPACING, _ORIGIN),
    "sagittal": Geometry(_SIZE, _SPACING, _ORIGIN, _SAGITTAL),
    "coronal": Geometry(_SIZE, _SPACING, _ORIGIN, _CORONAL),
    "oblique": Geometry(_SIZE, _SPACING, _ORIGIN, _OBLIQUE),
    "flipped": Geometry(_SIZE, _SPACING, _ORIGIN, np.diag([1.0, -1.0, 1.0])),
    "left-handed oblique": Geometry(_SIZE, _SPACING, _ORIGIN, _OBLIQUE @ np.diag([-1.0, 1, 1])),
    "anisotropic": Geometry((13, 11, 5), (0.5, 0.9, 6.0), _ORIGIN, np.diag([-1.0, -1.0, 1.0])),
    "single slice": Geometry((11, 9, 1), (0.9, 0.9, 5.0), _ORIGIN),
}


@pytest.fixture(params=list(GEOMETRIES))
def geometry(request: pytest.FixtureRequest) -> Geometry:
    """Each grid in turn: the test runs once per orientation."""
    return GEOMETRIES[request.param]


@pytest.fixture
def geometries() -> dict[str, Geometry]:
    """All grids by name."""
    return dict(GEOMETRIES)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def scene() -> Iterator[Any]:
    """An MRML scene; the test is skipped without Slicer's libraries."""
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
    scene = slicer.vtkMRMLScene()
    # The logic registers the rules by which segments are converted and copied.
    logic = slicer.vtkSlicerSegmentationsModuleLogic()
    logic.SetMRMLScene(scene)
    yield scene
    logic.SetMRMLScene(None)
    scene.Clear(True)
