"""Render the icons' drawings (``*.svg``) to the PNG files that Slicer shows, beside them.

Needs Qt's SVG renderer (``PySide6-Essentials``); run it after a drawing was changed.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SIZE = 128
DRAWINGS = (
    REPOSITORY / "AttribSeg/Resources/Icons/AttribSeg.svg",
    REPOSITORY / "AttribSeg/SegmentEditorAttribution/Resources/Icons/SegmentEditorAttribution.svg",
    REPOSITORY / "MonotoneNet/Resources/Icons/MonotoneNet.svg",
)


def render(drawing: Path, target: Path, size: int = SIZE) -> None:
    """Render one drawing, transparent around it, as a square PNG of ``size`` pixels."""
    from PySide6.QtCore import Qt
    from PySide6.QtGui import QImage, QPainter
    from PySide6.QtSvg import QSvgRenderer

    image = QImage(size, size, QImage.Format.Format_ARGB32)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    QSvgRenderer(str(drawing)).render(painter)
    painter.end()
    if not image.save(str(target)):
        raise OSError(f"{target}: cannot be written")


def main() -> int:
    """Render all, and copy the extension's own to the root."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from PySide6.QtGui import QGuiApplication

    application = QGuiApplication(sys.argv[:1])
    for drawing in DRAWINGS:
        render(drawing, drawing.with_suffix(".png"))
    shutil.copy(DRAWINGS[0].with_suffix(".png"), REPOSITORY / "AttribSeg.png")
    application.quit()
    return 0


if __name__ == "__main__":
    sys.exit(main())
