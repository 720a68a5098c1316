"""The channel chooser: a picture for every channel of a counterfactual."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import qt
from AttribSegScene.detection_nodes import DetectionNodes
from MonotoneNetScene.channel_pictures import channel_pictures
from MonotoneNetScene.channels import MODEL_MAP, channels_of
from numpy.typing import NDArray

_SIZE = 84
_COLUMNS = 4


class ChannelChooser:
    """A list of pictures; one of them is selected.

    Parameters
    ----------
    widget : QListWidget
        In icon mode.
    looked : callable
        Gets the channel that is clicked.
    chosen : callable
        Gets the channel that is double-clicked.
    """

    def __init__(
        self, widget: Any, looked: Callable[[str], None], chosen: Callable[[str], None]
    ) -> None:
        self._widget, self._looked, self._chosen = widget, looked, chosen
        self._names: tuple[str, ...] = ()
        widget.setIconSize(qt.QSize(_SIZE, _SIZE))
        widget.connect("currentRowChanged(int)", self._on_row)
        widget.connect("itemDoubleClicked(QListWidgetItem*)", self._on_double_click)

    @property
    def channel(self) -> str | None:
        """Channel that is selected."""
        row = self._widget.currentRow
        return self._names[row] if 0 <= row < len(self._names) else None

    def show(self, nodes: DetectionNodes | None) -> None:
        """Show the channels of a detection, the one that is segmented selected; None for none.

        Raises
        ------
        InputError
            If a map of the detection was deleted.
        """
        widget = self._widget
        was_blocked = widget.blockSignals(True)
        try:
            widget.clear()
            self._names = ()
            if nodes is not None:
                self._fill(nodes)
        finally:
            widget.blockSignals(was_blocked)

    def _fill(self, nodes: DetectionNodes) -> None:
        channels = channels_of(nodes)
        for picture in channel_pictures(nodes, size=_SIZE):
            name = "own map" if picture.channel == MODEL_MAP else picture.channel
            tip = f"{name}: largest value {picture.peak:.3g}"
            text = f"{name}\npeak {picture.peak:.3g}"
            item = qt.QListWidgetItem(_icon(picture.pixels), text)
            if picture.channel == MODEL_MAP:
                tip += "; the map that the model itself segments"
            if picture.channel == channels.best:
                item.setText(f"{name} \N{BLACK STAR}\npeak {picture.peak:.3g}")
                tip += "; the model itself uses this channel"
            font = item.font()
            font.setBold(picture.channel == channels.chosen)
            item.setFont(font)
            item.setToolTip(tip)
            self._widget.addItem(item)
        self._names = channels.names
        self._widget.setCurrentRow(channels.names.index(channels.chosen))
        self._fit()

    def _fit(self) -> None:
        """As high as the pictures need; more rows than three are scrolled."""
        widget = self._widget
        rows = min(3, -(-len(self._names) // _COLUMNS))
        height = widget.sizeHintForRow(0) + 2 * widget.spacing
        widget.setFixedHeight(rows * height + 2 * widget.frameWidth + 2 * widget.spacing)

    def _on_row(self, row: int) -> None:
        if 0 <= row < len(self._names):
            self._looked(self._names[row])

    def _on_double_click(self, item: Any) -> None:
        row = self._widget.row(item)
        if 0 <= row < len(self._names):
            self._chosen(self._names[row])


def _icon(pixels: NDArray[np.uint8]) -> Any:
    """Picture whose colours do not change when it is selected."""
    picture = pixmap(pixels)
    icon = qt.QIcon(picture)
    icon.addPixmap(picture, qt.QIcon.Selected)
    return icon


def pixmap(pixels: NDArray[np.uint8]) -> Any:
    """Picture of an array, as Qt draws it.

    Through a file: that is how Slicer's Qt takes pixels from Python without a copy per pixel.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (rows, columns, 3)

    Returns
    -------
    QPixmap
    """
    rows, columns, _ = pixels.shape
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.ppm"
        path.write_bytes(f"P6 {columns} {rows} 255\n".encode("ascii") + pixels.tobytes())
        return qt.QPixmap(str(path))
