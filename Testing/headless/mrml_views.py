"""Slicer's views of tables as widgets."""

from __future__ import annotations

from functools import partial
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, Qt
from PySide6.QtWidgets import QTableView, QWidget

from .mrml_widgets import release


class _TableModel(QAbstractTableModel):
    """Rows and columns of a ``vtkMRMLTableNode``."""

    def __init__(self, parent: Any) -> None:
        super().__init__(parent)
        self.node: Any = None
        self._observed: list[tuple[Any, int]] = []
        self.destroyed.connect(partial(release, self._observed))

    def follow(self, node: Any) -> None:
        """Show another node."""
        release(self._observed)
        self.beginResetModel()
        self.node = node
        self.endResetModel()
        if node is not None:
            self._observed.append((node, node.AddObserver("ModifiedEvent", self._modified)))

    def _modified(self, *_: Any) -> None:
        self.beginResetModel()
        self.endResetModel()

    def _table(self) -> Any:
        return self.node.GetTable() if self.node is not None else None

    def _names_row(self) -> int:
        """1 if the names of the columns are the first row, as Slicer has it unless told."""
        return 0 if self.node.GetUseColumnTitleAsColumnHeader() else 1

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return int(self._table().GetNumberOfRows()) + self._names_row() if self._table() else 0

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return int(self._table().GetNumberOfColumns()) if self._table() else 0

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if role != Qt.ItemDataRole.DisplayRole or not self._table():
            return None
        row = index.row() - self._names_row()
        if row < 0:
            return self._table().GetColumnName(index.column())
        return self._table().GetValue(row, index.column()).ToString()

    def headerData(
        self, section: int, orientation: Any, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if role != Qt.ItemDataRole.DisplayRole or not self._table():
            return None
        if orientation == Qt.Orientation.Horizontal:
            named = self.node.GetUseColumnTitleAsColumnHeader()
            return self._table().GetColumnName(section) if named else chr(ord("A") + section)
        return section + 1


class qMRMLTableView(QTableView):  # noqa: N801
    """A table node as a table."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._observed: list[tuple[Any, int]] = []
        self.destroyed.connect(partial(release, self._observed))
        self._rows = _TableModel(self)
        self.setModel(self._rows)
        self.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)

    def setMRMLScene(self, scene: Any) -> None:
        """Set the scene; as in Slicer, a view without a view node is then emptied by batches."""
        release(self._observed)
        self._scene = scene
        if scene is not None:
            tag = scene.AddObserver(scene.EndBatchProcessEvent, self._on_batch)
            self._observed.append((scene, tag))

    def _on_batch(self, *_: Any) -> None:
        self.setMRMLTableNode(None)

    def mrmlScene(self) -> Any:
        """The scene."""
        return self._scene

    def setMRMLTableNode(self, node: Any) -> None:
        """Show a node's table."""
        self._rows.follow(node)

    def mrmlTableNode(self) -> Any:
        """The node that is shown."""
        return self._rows.node
