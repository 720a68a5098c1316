"""What Slicer's views show."""

from __future__ import annotations

from typing import Any

import slicer


def show_chart(chart: Any) -> None:
    """Show a chart; the layout changes to one with a chart view if it has none."""
    slicer.modules.plots.logic().ShowChartInLayout(chart)


def show_volume(volume: Any) -> None:
    """Show a volume in all slice views, whole."""
    slicer.util.setSliceViewerLayers(background=volume, foreground=None, fit=True)
