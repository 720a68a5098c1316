"""One step of the threshold's slider at 1 mm: from the map to the updated segment in its node."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from AttribSegLib.image import Image, mni152_geometry
from timing import median_seconds

COMPONENTS = 200


def measure() -> dict[str, float]:
    """A 182 x 218 x 182 map with 200 components, on noise as the maps of networks have it.

    Every step moves the threshold within a range in which all components stay apart.
    """
    import slicer
    from AttribSegLib import mrml

    # As in Slicer, where the folder of a module is on the path.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "AttribSeg"))
    from AttribSegScene.live_threshold import LiveThreshold

    grid = mni152_geometry(1.0)
    score_map = Image(_map(grid.size), grid)
    scene = slicer.vtkMRMLScene()
    logic = slicer.vtkSlicerSegmentationsModuleLogic()
    logic.SetMRMLScene(scene)
    attribution = mrml.attribution_node(score_map, scene=scene)
    empty = score_map.with_array(np.zeros(grid.size, dtype=bool))
    segmentation = mrml.segmentation_node_from_mask(empty, scene=scene)
    live = LiveThreshold(attribution, segmentation, "Lesions")
    live.set(1.0)
    found = len(live.finish())
    if found != COMPONENTS:
        raise RuntimeError(f"{found} components, {COMPONENTS} were meant to be")
    thresholds = iter(np.linspace(0.8, 1.2, 40))
    seconds = median_seconds(lambda: live.set(float(next(thresholds))), repetitions=30)
    return {"threshold_update_ms": 1000.0 * seconds}


def _map(size: tuple[int, int, int]) -> np.ndarray:
    """Balls in a brain-sized box of weak noise, on a lattice that keeps them apart."""
    rng = np.random.default_rng(0)
    values = np.zeros(size, dtype=np.float32)
    box = tuple(slice(n // 8, n - n // 8) for n in size)
    values[box] = rng.normal(0.0, 0.1, values[box].shape)
    corner = np.array([n // 8 for n in size])
    steps = np.stack(np.meshgrid(*[range(n * 6 // 8 // 18) for n in size], indexing="ij"), -1)
    places = rng.permutation(steps.reshape(-1, 3))[:COMPONENTS] * 18 + corner
    inside = np.sqrt(((np.indices((17, 17, 17)) - 8) ** 2).sum(axis=0))
    for place in places:
        peak = rng.uniform(1.5, 2.5)
        part = tuple(slice(start, start + 17) for start in place)
        values[part] = np.maximum(values[part], peak * (1 - inside / 8))
    return values
