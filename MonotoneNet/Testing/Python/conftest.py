"""What the tests of the monotone recipe share."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from AttribSegLib.image import Geometry, Image
from AttribSegLib.image_io import write_image

_SIZE = (28, 24, 3)


@pytest.fixture(scope="session")
def slice_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cohort of slices, with a bright box in the pathological ones."""
    folder = tmp_path_factory.mktemp("slices")
    rng = np.random.default_rng(0)
    grid = Geometry(_SIZE, (4.0,) * 3)
    x, y, _ = np.meshgrid(*[np.linspace(-1, 1, n) for n in _SIZE], indexing="ij")
    brain = x**2 + y**2 < 0.95
    rows: list[list[Any]] = [["case", "patient", "label", "split", "FLAIR", "lesions", "slice"]]
    for split, count in (("train", 24), ("validation", 12), ("test", 12)):
        for number in range(count):
            case, label = f"{split}{number}", number % 2
            array = np.where(brain, 100 + 10 * rng.standard_normal(_SIZE), 0.0)
            mask = np.zeros(_SIZE, dtype=np.uint8)
            if label:
                i, j = rng.integers(8, 14, 2)
                mask[i : i + 5, j : j + 5] = 1
                array[mask > 0] += 60
            write_image(Image(array.astype(np.float32), grid), folder / f"{case}.nii")
            write_image(Image(mask, grid), folder / f"{case}_m.nii")
            drawn = f"{case}_m.nii" if label else ""
            rows.append([case, f"p{number // 2}-{split}", label, split, f"{case}.nii", drawn, 1])
    table = folder / "cohort.csv"
    table.write_text("\n".join(",".join(map(str, row)) for row in rows) + "\n", encoding="utf-8")
    return table


@pytest.fixture(scope="session")
def small_recipe() -> dict[str, Any]:
    """Parameters of a monotone recipe that learns these slices in seconds."""
    return {
        "recipe": "monotone",
        "features": 3,
        "filters": [8, 16],
        "strides": [2, 1],
        "width": 1.0,
        "epochs": 6,
        "batch_size": 8,
        "learning_rate": 0.01,
        "augmentation": {"brightness": [1, 1], "flip": 0.5, "elastic": 0, "affine": 0},
    }
