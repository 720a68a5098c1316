"""Plot nodes: a training as it goes on, and curves of an evaluation."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from AttribSegLib.errors import InputError

from .scenes import nodes_of_class, scene_or_default
from .tables import table_node

#: Okabe-Ito colours, told apart by colour-blind readers.
_COLOURS = (
    (0.00, 0.45, 0.70),
    (0.84, 0.37, 0.00),
    (0.00, 0.62, 0.45),
    (0.80, 0.47, 0.65),
    (0.90, 0.62, 0.00),
    (0.34, 0.71, 0.91),
)
#: Attribute of the nodes of a training's plot: which of them it is, and of which training.
_PLOT = "AttribSeg.Plot"
#: What of an epoch is plotted, by chart.
_LOSSES = {
    "train_loss": "training loss",
    "train_classification": "training, classification",
    "train_reconstruction": "training, reconstruction",
    "validation_loss": "validation loss",
}
_RATES = {
    "validation_tpr": "TPR",
    "validation_tnr": "TNR",
    "validation_auroc": "AUROC",
}
#: Title and axes of the curves of an evaluation.
_CURVES = {
    "roc": ("ROC", "false positive rate", "true positive rate"),
    "precision-recall": ("Precision and recall", "recall", "precision"),
    "dice": ("Dice", "share of the brain that is segmented", "Dice"),
}


class TrainingPlot:
    """Losses and rates of a training, epoch by epoch, as nodes.

    Parameters
    ----------
    scene : vtkMRMLScene or None
        Where the nodes are made; None for Slicer's scene. They are made at the first epoch.
    name : str
        Begins the nodes' names.
    key : str
        What is trained, such as the model's folder; by default the name. The nodes of an earlier
        plot of the same key are filled again, as when a training is resumed.

    Attributes
    ----------
    table : vtkMRMLTableNode or None
        One row per epoch, one column for each number of its events.
    node : vtkMRMLPlotChartNode or None
        Losses.
    rates_node : vtkMRMLPlotChartNode or None
        True positive and true negative rate and AUROC on the validation images.
    """

    def __init__(self, scene: Any, name: str, *, key: str = "") -> None:
        self.scene, self.name, self.key = scene_or_default(scene), name, key or name
        self.table: Any = None
        self.node: Any = None
        self.rates_node: Any = None
        self._epochs: dict[int, dict[str, float]] = {}

    def add_epoch(self, event: Mapping[str, Any]) -> None:
        """Add an epoch; one that is there already is replaced, as when a training is resumed.

        Parameters
        ----------
        event : mapping
            The event "epoch" of ``attribseg train``.

        Raises
        ------
        InputError
            If the event has no epoch.
        """
        try:
            epoch = int(event["epoch"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"event {dict(event)}: an epoch of a training was expected") from error
        known = {
            key: float(value)
            for key, value in event.items()
            if key.startswith(("train_", "validation_")) and isinstance(value, (int, float))
        }
        self._epochs[epoch] = known
        self._draw()

    def _draw(self) -> None:
        epochs = sorted(self._epochs)
        keys = list(dict.fromkeys(key for epoch in epochs for key in self._epochs[epoch]))
        columns: dict[str, Sequence[Any]] = {"epoch": epochs}
        columns |= {key: [self._epochs[e].get(key, math.nan) for e in epochs] for key in keys}
        if self.table is None or _left(self.table, self.scene):
            # With a table that is gone go the charts that were made of it; those of an earlier run
            # of this training are filled again.
            self.table = self._earlier("epochs", "vtkMRMLTableNode")
            self.node = self.table and self._earlier("losses", "vtkMRMLPlotChartNode")
            self.rates_node = self.table and self._earlier("rates", "vtkMRMLPlotChartNode")
        name = f"{self.name}: epochs" if self.table is None else None
        self.table = table_node(columns, scene=self.scene, node=self.table, name=name)
        self.table.SetAttribute(_PLOT, f"epochs of {self.key}")
        if self.node is None or _left(self.node, self.scene):
            self.node = self._chart("losses", "loss")
        if self.rates_node is None or _left(self.rates_node, self.scene):
            self.rates_node = self._chart("rates", "rate")
            self.rates_node.YAxisRangeAutoOff()
            self.rates_node.SetYAxisRange(0.0, 1.05)
        self._fill(self.node, _LOSSES, keys)
        self._fill(self.rates_node, _RATES, keys)

    def _earlier(self, kind: str, class_name: str) -> Any:
        nodes = nodes_of_class(self.scene, class_name)
        mine = (node for node in nodes if node.GetAttribute(_PLOT) == f"{kind} of {self.key}")
        return next(mine, None)

    def _chart(self, kind: str, axis: str) -> Any:
        chart = _chart_node(self.scene, f"{self.name}: {kind}", "epoch", axis)
        chart.SetAttribute(_PLOT, f"{kind} of {self.key}")
        return chart

    def _fill(self, chart: Any, titles: Mapping[str, str], keys: Sequence[str]) -> None:
        """Give a chart the series of the table's columns, and no others."""
        shown = [key for key in titles if key in keys]
        series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
        if [node and node.GetYColumnName() for node in series] == shown:
            return
        chart.RemoveAllPlotSeriesNodeIDs()
        for node in series:
            if node is not None:
                self.scene.RemoveNode(node)
        for index, key in enumerate(shown):
            node = _series_node(self.table, "epoch", key, titles[key], index, points=True)
            chart.AddAndObservePlotSeriesNodeID(node.GetID())


def curve_plot(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    scene: Any = None,
    name: str = "Curves",
    x_title: str = "x",
    y_title: str = "y",
    unit_range: bool = False,
) -> Any:
    """Chart of curves.

    Parameters
    ----------
    curves : mapping of str to pair of sequences
        x and y of the points of each curve, by the curve's name.
    scene : vtkMRMLScene, optional
        Where the nodes are made; default Slicer's scene.
    name, x_title, y_title : str
    unit_range : bool
        Both axes go from 0 to 1.

    Returns
    -------
    vtkMRMLPlotChartNode
        Its series refer to one table node per curve.

    Raises
    ------
    InputError
        If there is no curve, or x and y differ in length.
    """
    if not curves:
        raise InputError(f"{name}: no curve to plot; evaluate on cases with masks")
    scene = scene_or_default(scene)
    for curve, (x, y) in curves.items():
        if len(x) != len(y):
            raise InputError(f"{name}, {curve}: {len(x)} values of x for {len(y)} of y")
    chart = _chart_node(scene, name, x_title, y_title)
    for index, (curve, (x, y)) in enumerate(curves.items()):
        columns = {x_title: [float(v) for v in x], y_title: [float(v) for v in y]}
        table = table_node(columns, scene=scene, name=f"{name}: {curve}")
        series = _series_node(table, x_title, y_title, curve, index, points=False)
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    if unit_range:
        chart.XAxisRangeAutoOff()
        chart.YAxisRangeAutoOff()
        chart.SetXAxisRange(0.0, 1.0)
        chart.SetYAxisRange(0.0, 1.05)
    return chart


def columns_plot(
    table: Any,
    x: str,
    columns: Mapping[str, str],
    *,
    name: str,
    x_title: str,
    y_title: str,
    logarithmic: bool = False,
) -> Any:
    """Chart of columns of one table.

    Parameters
    ----------
    table : vtkMRMLTableNode
        The chart is made in its scene.
    x : str
        Column of the horizontal axis.
    columns : mapping of str to str
        Columns that are drawn, and what the legend calls them.
    name, x_title, y_title : str
    logarithmic : bool
        Of the vertical axis.

    Returns
    -------
    vtkMRMLPlotChartNode

    Raises
    ------
    InputError
        If the table has no such column, or none is to be drawn.
    """
    known = table.GetTable()
    lacking = [key for key in (x, *columns) if known.GetColumnByName(key) is None]
    if lacking or not columns:
        raise InputError(f"{name}: the table has no column {lacking or 'to draw'}")
    chart = _chart_node(table.GetScene(), name, x_title, y_title)
    for index, (key, shown) in enumerate(columns.items()):
        series = _series_node(table, x, key, shown, index, points=True)
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetYAxisLogScale(logarithmic)
    return chart


def evaluation_plots(path: str | Path, *, scene: Any = None, name: str = "") -> dict[str, Any]:
    """Charts of the curves of an evaluation.

    Parameters
    ----------
    path : path
        ``curves.csv`` of an evaluation.
    scene : vtkMRMLScene, optional
        Where the nodes are made; default Slicer's scene.
    name : str
        Ends the nodes' names.

    Returns
    -------
    dict of str to vtkMRMLPlotChartNode
        By curve and population, such as ``"ROC, images"``, with a series for each map; empty
        when the evaluation has no curves.

    Raises
    ------
    InputError
        If the table is missing or is not such a table.
    """
    charts: dict[tuple[str, str], dict[str, tuple[list[float], list[float]]]] = {}
    try:
        with Path(path).open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                chart = charts.setdefault((row["curve"], row["population"]), {})
                x, y = chart.setdefault(row["map"] or "classifier", ([], []))
                x.append(float(row["x"]))
                y.append(float(row["y"]))
        axes = {key: _CURVES[key[0]] for key in charts}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a table of curves ({error!r}); evaluate again") from error
    made = {}
    for key, curves in charts.items():
        title, x_title, y_title = axes[key]
        made[f"{title}, {key[1]}"] = curve_plot(
            curves,
            scene=scene,
            name=f"{title}, {key[1]}: {name}" if name else f"{title}, {key[1]}",
            x_title=x_title,
            y_title=y_title,
            unit_range=True,
        )
    return made


def _left(node: Any, scene: Any) -> bool:
    """Whether a node was made and has left the scene since, as when that is closed."""
    return node is not None and node.GetScene() is not scene


def _chart_node(scene: Any, name: str, x_title: str, y_title: str) -> Any:
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", name)
    chart.SetTitle(name)
    chart.SetXAxisTitle(x_title)
    chart.SetYAxisTitle(y_title)
    return chart


def _series_node(table: Any, x: str, y: str, name: str, index: int, *, points: bool) -> Any:
    """Series of two columns of a table."""
    kind = table.GetScene().AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
    kind.SetAndObserveTableNodeID(table.GetID())
    kind.SetXColumnName(x)
    kind.SetYColumnName(y)
    kind.SetPlotType(kind.PlotTypeScatter)
    kind.SetMarkerStyle(kind.MarkerStyleCircle if points else kind.MarkerStyleNone)
    kind.SetLineStyle(kind.LineStyleSolid)
    kind.SetColor(*_COLOURS[index % len(_COLOURS)])
    return kind
