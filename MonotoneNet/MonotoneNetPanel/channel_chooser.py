"""The channel chooser: a picture for every channel of a counterfactual."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import qt
from AttribSegPanel.panel import Panel
from AttribSegScene.detection_nodes import DetectionNodes
from AttribSegScene.stage import Stage, let_threads_work
from MonotoneNetScene.channel_pictures import ChannelPicture, picture_work
from MonotoneNetScene.channels import MODEL_MAP, Channels, channels_of
from numpy.typing import NDArray

_SIZE = 84
_COLUMNS = 4
_POLL_MS = 30


class ChannelChooser:
    """A list of pictures, drawn by a thread; one of them is selected.

    Parameters
    ----------
    panel : Panel
        Its ``channelList`` is a QListWidget in icon mode.
    looked : callable
        Gets the channel that is clicked.
    chosen : callable
        Gets the channel that is double-clicked.
    """

    def __init__(
        self, panel: Panel, looked: Callable[[str], None], chosen: Callable[[str], None]
    ) -> None:
        widget = panel.ui.channelList
        self._panel, self._widget = panel, widget
        self._looked, self._chosen = looked, chosen
        self._names: tuple[str, ...] = ()
        self._channels: Channels | None = None
        self._drawing: Stage | None = None
        self._pictures: list[ChannelPicture] = []
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self._watch)
        widget.setIconSize(qt.QSize(_SIZE, _SIZE))
        widget.connect("currentRowChanged(int)", self._on_row)
        widget.connect("itemDoubleClicked(QListWidgetItem*)", self._on_double_click)

    @property
    def channel(self) -> str | None:
        """Channel that is selected."""
        row = self._widget.currentRow
        return self._names[row] if 0 <= row < len(self._names) else None

    @property
    def ready(self) -> bool:
        """Whether all pictures are there."""
        return not self._timer.active

    def show(self, nodes: DetectionNodes | None) -> None:
        """Show the channels of a detection, the one that is segmented selected; None for none.

        Raises
        ------
        InputError
            If a map of the detection was deleted.
        """
        self._timer.stop()
        self._drawing, self._pictures = None, []
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
        work = picture_work(nodes, size=_SIZE)
        blank = qt.QPixmap(_SIZE, _SIZE)
        blank.fill(qt.QColor("#000000"))
        for name in channels.names:
            item = qt.QListWidgetItem(qt.QIcon(blank), "")
            item.setText(f"{_title(name, channels)}\n")
            font = item.font()
            font.setBold(name == channels.chosen)
            item.setFont(font)
            item.setToolTip(_tip(name, channels, ""))
            self._widget.addItem(item)
        self._names, self._channels = channels.names, channels
        self._widget.setCurrentRow(channels.names.index(channels.chosen))
        self._fit()
        self._drawing = Stage(work)
        self._timer.start()

    def _watch(self) -> None:
        """Take the pictures from the thread; one at a time into the list."""
        let_threads_work()
        with self._panel.guard():
            try:
                busy = self._take_pictures()
            except Exception:
                self._drawing = None
                self._timer.stop()
                raise
            if not busy:
                self._timer.stop()

    def _take_pictures(self) -> bool:
        if self._drawing is not None:
            if not self._drawing.finished():
                return True
            self._pictures, self._drawing = list(self._drawing.value), None
        if self._pictures:
            picture = self._pictures.pop(0)
            name, channels = picture.channel, self._channels
            assert channels is not None
            item = self._widget.item(self._names.index(name))
            item.setIcon(_icon(picture.pixels))
            item.setText(f"{_title(name, channels)}\npeak {picture.peak:.3g}")
            item.setToolTip(_tip(name, channels, f": largest value {picture.peak:.3g}"))
        return bool(self._pictures)

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


def _title(name: str, channels: Channels) -> str:
    shown = "own map" if name == MODEL_MAP else name
    return f"{shown} \N{BLACK STAR}" if name == channels.best else shown


def _tip(name: str, channels: Channels, peak: str) -> str:
    tip = ("own map" if name == MODEL_MAP else name) + peak
    if name == MODEL_MAP:
        tip += "; the map that the model itself segments"
    if name == channels.best:
        tip += "; the model itself uses this channel"
    return tip


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
