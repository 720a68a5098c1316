from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.lesions import lesion_table

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("vtk", reason="vtk is not installed")

from AttribSegScene import names  # noqa: E402
from AttribSegScene.tables import (  # noqa: E402
    lesion_centre,
    lesion_table_node,
    metrics_table_node,
    table_node,
)


def cells(node: Any) -> dict[str, list[Any]]:
    table = node.GetTable()
    columns = [table.GetColumn(index) for index in range(table.GetNumberOfColumns())]
    rows = range(table.GetNumberOfRows())
    return {column.GetName(): [column.GetValue(row) for row in rows] for column in columns}


def two_lesions(geometry: Geometry) -> tuple[Image, Image]:
    mask = np.zeros(geometry.size, dtype=bool)
    mask[1:4, 2, 3] = mask[8:10, 6:8, 5] = True
    values = np.where(mask, 2.0, -1.0).astype(np.float32)
    values[2, 2, 3] = 5.0
    return Image(mask, geometry), Image(values, geometry)


def test_lesions(scene: Any, geometries: dict[str, Geometry]) -> None:
    grid = geometries["oblique"]
    mask, values = two_lesions(grid)
    node = lesion_table_node(lesion_table(mask, values), scene=scene)
    found = cells(node)
    assert node.GetName() == "Lesions table"
    assert found["Lesion"] == [1, 2]
    assert found["Volume (mL)"] == pytest.approx([4 * 1.8e-3, 3 * 1.8e-3])
    assert found["Mean"] == pytest.approx([2.0, 3.0])
    assert found["Peak"] == [2.0, 5.0]
    # A double click takes the slices to the middle of the lesion.
    assert lesion_centre(node, 1) == pytest.approx(tuple(grid.to_ras((2, 2, 3))), abs=0.01)
    assert lesion_centre(node, 2) is None
    assert lesion_centre(node, -1) is None


def test_lesions_of_nominal_spacing(scene: Any, geometries: dict[str, Geometry]) -> None:
    mask, values = two_lesions(replace(geometries["axial"], nominal=True))
    found = cells(lesion_table_node(lesion_table(mask, values), scene=scene))
    assert found["Voxels"] == [4, 3]
    assert (found["I"][1], found["J"][1], found["K"][1]) == (2.0, 2.0, 3.0)
    assert not [name for name in found if "mL" in name or "mm" in name]


def test_no_lesions_still_have_columns(scene: Any) -> None:
    known = cells(lesion_table_node([], scene=scene))
    assert known["Volume (mL)"] == []
    assert "Voxels" in cells(lesion_table_node([], scene=scene, nominal=True))


def test_a_table_holds_the_largest_lesions_only(
    scene: Any, geometries: dict[str, Geometry]
) -> None:
    largest, smallest = lesion_table(*two_lesions(geometries["axial"]))
    node = lesion_table_node([largest] * 300 + [smallest] * 300, scene=scene)
    volumes = cells(node)["Volume (mL)"]
    assert volumes == [volumes[0]] * 300 + [volumes[-1]] * 200
    assert node.GetAttribute(names.LESIONS) == "600"
    assert lesion_table_node([], node=node).GetAttribute(names.LESIONS) == "0"


def test_a_table_is_filled_again(scene: Any) -> None:
    node = table_node({"a": [1, 2, 3], "b": ["x", None, "z"]}, scene=scene, name="first")
    assert cells(node) == {"a": [1, 2, 3], "b": ["x", "", "z"]}
    count = scene.GetNumberOfNodes()
    assert table_node({"c": [0.5, 1]}, node=node) is node
    assert cells(node) == {"c": [0.5, 1.0]}
    assert node.GetName() == "first"
    assert scene.GetNumberOfNodes() == count
    column = cells(table_node({"d": [1, None]}, node=node, name="second"))["d"]
    assert column[0] == 1
    assert math.isnan(column[1])
    assert node.GetName() == "second"


def test_metrics(scene: Any) -> None:
    summary = {"mean": 0.4, "sd": 0.1, "n": 9, "undefined": 1}
    evaluation = {
        "counts": {"cases": 20},
        "image": {"auroc": {"value": 0.9, "low": 0.8, "high": 0.95, "interval": "Wilson"}},
        "populations": {
            "with a mask": {
                "cases": 10,
                "maps": {"attribution": {"per_case": {"dice": summary}, "pooled": {"auprc": 0.3}}},
            }
        },
        "healthy": {"FLAIR intensity": {"false_positive_ml": {**summary, "mean": None}}},
    }
    found = cells(metrics_table_node(evaluation, scene=scene, name="m"))
    assert found["Metric"] == ["auroc", "dice", "auprc, pooled", "false_positive_ml"]
    assert found["Map"] == ["classifier", "attribution", "attribution", "FLAIR intensity"]
    assert found["Population"][1:] == ["with a mask", "with a mask", "healthy cases"]
    assert found["Value"][:3] == [0.9, 0.4, 0.3]
    assert math.isnan(found["Value"][3])  # undefined
    assert found["Cases"] == [20, 9, 10, 9]
    assert (found["Low"][0], found["High"][0], found["SD"][1]) == (0.8, 0.95, 0.1)
    for broken in ({}, {**evaluation, "image": {"auroc": 1}}, {**evaluation, "healthy": None}):
        with pytest.raises(InputError, match=r"evaluation\.json"):
            metrics_table_node(broken, scene=scene)


def test_tables_that_are_refused(scene: Any) -> None:
    with pytest.raises(InputError, match="columns of one length were expected, not a 1, b 2"):
        table_node({"a": [1], "b": [1, 2]}, scene=scene)
    with pytest.raises(InputError, match="no MRML scene"):
        table_node({"a": [1]})
    node = table_node({"a": [1]}, scene=scene, name="gone")
    scene.RemoveNode(node)
    with pytest.raises(InputError, match="'gone': a table node of the scene"):
        table_node({"a": [1]}, node=node)
