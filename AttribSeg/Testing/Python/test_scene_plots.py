from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from AttribSegLib.errors import InputError

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("vtk", reason="vtk is not installed")

from AttribSegScene.plots import (  # noqa: E402
    TrainingPlot,
    columns_plot,
    curve_plot,
    evaluation_plots,
)
from AttribSegScene.tables import table_node  # noqa: E402


def epoch(number: int, **more: Any) -> dict[str, Any]:
    """The event of an epoch, as ``attribseg train`` prints it."""
    return {
        "event": "epoch",
        "epoch": number,
        "train_loss": 1.0 / number,
        "train_classification": 0.5 / number,
        "validation_loss": 0.7,
        "validation_tpr": 0.1 * number,
        "validation_tnr": 0.9,
        "validation_auroc": 0.8,
        "epochs": 9,
        "best_epoch": 1,
        "seconds": 3.5,
        **more,
    }


def points(chart: Any) -> dict[str, list[tuple[float, float]]]:
    """What a chart shows: the points of each series by its name."""
    shown = {}
    for index in range(chart.GetNumberOfPlotSeriesNodes()):
        series = chart.GetNthPlotSeriesNode(index)
        table = series.GetTableNode().GetTable()
        x = table.GetColumnByName(series.GetXColumnName())
        y = table.GetColumnByName(series.GetYColumnName())
        rows = range(table.GetNumberOfRows())
        shown[series.GetName()] = [(x.GetValue(row), y.GetValue(row)) for row in rows]
    return shown


def test_training_grows_by_epochs(scene: Any) -> None:
    plot = TrainingPlot(scene, "mine")
    assert plot.node is None
    plot.add_epoch(epoch(1))
    chart, rates, count = plot.node, plot.rates_node, scene.GetNumberOfNodes()
    plot.add_epoch(epoch(2))
    assert (plot.node, plot.rates_node) == (chart, rates)
    assert scene.GetNumberOfNodes() == count
    shown = points(chart)
    assert shown["training loss"] == [(1, 1.0), (2, 0.5)]
    assert shown["validation loss"] == [(1, 0.7), (2, 0.7)]
    assert points(rates) == {
        "TPR": [(1, 0.1), (2, 0.2)],
        "TNR": [(1, 0.9), (2, 0.9)],
        "AUROC": [(1, 0.8), (2, 0.8)],
    }
    assert plot.table.GetTable().GetColumnByName("seconds") is None
    # Series are told apart.
    colours = {chart.GetNthPlotSeriesNode(i).GetColor() for i in range(len(shown))}
    assert len(colours) == len(shown)


def test_epochs_may_come_again_and_know_more(scene: Any) -> None:
    plot = TrainingPlot(scene, "mine")
    plot.add_epoch(epoch(2, train_loss=9.0))
    plot.add_epoch(epoch(1))
    plot.add_epoch(epoch(2, validation_loss=None, train_constraint=0.3))
    shown = points(plot.node)
    assert shown["training loss"] == [(1, 1.0), (2, 0.5)]
    assert math.isnan(shown["validation loss"][1][1])
    column = plot.table.GetTable().GetColumnByName("train_constraint")
    assert math.isnan(column.GetValue(0))
    assert column.GetValue(1) == 0.3


def test_a_scene_that_is_closed_meanwhile(scene: Any) -> None:
    plot = TrainingPlot(scene, "mine")
    plot.add_epoch(epoch(1))
    scene.Clear(False)
    plot.add_epoch(epoch(2))
    assert plot.node.GetScene() is scene
    assert points(plot.node)["training loss"] == [(1, 1.0), (2, 0.5)]
    scene.RemoveNode(plot.rates_node)
    plot.add_epoch(epoch(3))
    assert points(plot.rates_node)["TNR"][-1] == (3, 0.9)
    with pytest.raises(InputError, match="an epoch of a training"):
        plot.add_epoch({"event": "step"})


def test_trainings_of_one_name_keep_their_epochs(scene: Any) -> None:
    first, second = (TrainingPlot(scene, "model", key=f"/{f}/model") for f in "ab")
    first.add_epoch(epoch(1))
    second.add_epoch(epoch(1, train_loss=9.0))
    assert points(first.node)["training loss"] == [(1, 1.0)]
    assert points(second.node)["training loss"] == [(1, 9.0)]
    again = TrainingPlot(scene, "model", key="/a/model")
    again.add_epoch(epoch(2))
    assert (again.table, again.node, again.rates_node) == (
        first.table,
        first.node,
        first.rates_node,
    )
    assert points(second.node)["training loss"] == [(1, 9.0)]


def test_series_follow_the_columns(scene: Any) -> None:
    """Another recipe in the same folder has other losses."""
    plot = TrainingPlot(scene, "mine")
    plot.add_epoch({"epoch": 1, "train_loss": 1.0, "train_reconstruction": 2.0})
    assert set(points(plot.node)) == {"training loss", "training, reconstruction"}
    count = scene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode")
    again = TrainingPlot(scene, "mine")
    again.add_epoch({"epoch": 1, "train_loss": 3.0, "validation_loss": 4.0})
    assert again.node is plot.node
    assert points(again.node) == {"training loss": [(1, 3.0)], "validation loss": [(1, 4.0)]}
    assert scene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode") == count


def test_curves(scene: Any) -> None:
    chart = curve_plot(
        {"a": ([0, 1], [0.5, 0.6]), "b": ([0, 0.5, 1], [0, 0.1, 0.2])},
        scene=scene,
        name="ROC",
        x_title="false",
        y_title="true",
        unit_range=True,
    )
    assert points(chart) == {
        "a": [(0, 0.5), (1, 0.6)],
        "b": [(0, 0), (0.5, 0.1), (1, 0.2)],
    }
    assert (chart.GetTitle(), chart.GetXAxisTitle(), chart.GetYAxisTitle()) == (
        "ROC",
        "false",
        "true",
    )
    with pytest.raises(InputError, match="ROC: no curve"):
        curve_plot({}, scene=scene, name="ROC")
    with pytest.raises(InputError, match="ROC, a: 1 values of x for 2 of y"):
        curve_plot({"a": ([0], [0, 1])}, scene=scene, name="ROC")


def test_columns_of_a_table(scene: Any) -> None:
    table = table_node({"layer": [1, 2], "ours": [0.9, 1.1], "kaiming": [5, 50]}, scene=scene)
    titles = {"x_title": "layer", "y_title": "standard deviation"}
    chart = columns_plot(
        table, "layer", {"kaiming": "Kaiming"}, name="depth", logarithmic=True, **titles
    )
    assert points(chart) == {"Kaiming": [(1, 5), (2, 50)]}
    assert chart.GetYAxisLogScale()
    for wrong in ({"none": "x"}, {}):
        with pytest.raises(InputError, match="depth: the table has no column"):
            columns_plot(table, "layer", wrong, name="depth", **titles)


def test_curves_of_an_evaluation(scene: Any, tmp_path: Path) -> None:
    rows = [
        "curve,population,map,x,y,threshold",
        "roc,images,,0.0,0.0,",
        "roc,images,,1.0,1.0,",
        "dice,with a mask,attribution,0.1,0.4,3.0",
        "dice,with a mask,FLAIR intensity,0.2,0.3,1.5",
    ]
    path = tmp_path / "curves.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    charts = evaluation_plots(path, scene=scene, name="mine")
    assert list(charts) == ["ROC, images", "Dice, with a mask"]
    assert points(charts["ROC, images"]) == {"classifier": [(0, 0), (1, 1)]}
    assert points(charts["Dice, with a mask"]) == {
        "attribution": [(0.1, 0.4)],
        "FLAIR intensity": [(0.2, 0.3)],
    }
    path.write_text(rows[0] + "\n", encoding="utf-8")
    assert evaluation_plots(path, scene=scene) == {}
    for broken in ("a,b\n1,2\n", "\n".join([rows[0], "roc,images,,x,0,"])):
        path.write_text(broken, encoding="utf-8")
        with pytest.raises(InputError, match="not a table of curves"):
            evaluation_plots(path, scene=scene)
    with pytest.raises(InputError, match="not a table of curves"):
        evaluation_plots(tmp_path / "none.csv", scene=scene)
