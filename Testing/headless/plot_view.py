"""Pictures of ``vtkMRMLPlotChartNode``: drawn by VTK's charts, as Slicer's plot view does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .slicer_app import write_png


def render_plot(chart_node: Any, path: Path, *, size: tuple[int, int] = (600, 400)) -> Path:
    """Draw a chart with its series into a PNG file.

    Parameters
    ----------
    chart_node : vtkMRMLPlotChartNode
        Its series are line or scatter plots, or bars.
    path : path
        Picture to write.
    size : tuple of int
        Width and height, in pixels.
    """
    from vtkmodules.vtkChartsCore import vtkAxis, vtkChartXY
    from vtkmodules.vtkViewsContext2D import vtkContextView

    view, chart = vtkContextView(), vtkChartXY()
    view.GetRenderer().SetBackground(1.0, 1.0, 1.0)
    view.GetRenderWindow().SetOffScreenRendering(1)
    view.GetRenderWindow().SetSize(*size)
    view.GetScene().AddItem(chart)
    chart.SetTitle(chart_node.GetTitle() or "")
    chart.GetAxis(vtkAxis.BOTTOM).SetTitle(chart_node.GetXAxisTitle() or "")
    chart.GetAxis(vtkAxis.LEFT).SetTitle(chart_node.GetYAxisTitle() or "")
    chart.SetShowLegend(chart_node.GetLegendVisibility())
    for place in range(chart_node.GetNumberOfPlotSeriesNodes()):
        _add_series(chart, chart_node.GetNthPlotSeriesNode(place))
    view.GetRenderWindow().Render()
    write_png(view.GetRenderWindow(), path)
    view.GetRenderWindow().Finalize()
    return path


def _add_series(chart: Any, series: Any) -> None:
    """Add one ``vtkMRMLPlotSeriesNode``; without a table it shows nothing."""
    from vtkmodules.vtkChartsCore import vtkChart

    if series.GetTableNode() is None:
        return
    table = series.GetTableNode().GetTable()
    bars = series.GetPlotType() == series.PlotTypeBar
    plot = chart.AddPlot(vtkChart.BAR if bars else vtkChart.LINE)
    plot.SetLabel(series.GetName() or "")
    x_name = series.GetXColumnName()
    x_column = _column(table, x_name) if x_name else -1
    plot.SetUseIndexForXSeries(x_column < 0)
    plot.SetInputData(table, max(x_column, 0), _column(table, series.GetYColumnName()))
    plot.SetColorF(*series.GetColor())
    plot.SetWidth(series.GetLineWidth())
    if not bars:
        plot.SetMarkerStyle(series.GetMarkerStyle())
        plot.SetMarkerSize(series.GetMarkerSize())
        plot.GetPen().SetLineType(series.GetLineStyle())


def _column(table: Any, name: str) -> int:
    """Place of a column by its name.

    Raises
    ------
    ValueError
        If the table has no such column.
    """
    names = [table.GetColumnName(place) for place in range(table.GetNumberOfColumns())]
    if name not in names:
        raise ValueError(f"column {name!r} is none of {', '.join(names)}")
    return names.index(name)
