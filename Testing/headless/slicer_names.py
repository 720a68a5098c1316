"""What ``slicer`` has in the application and not in the package ``slicer-core``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .ctk_module import stand_in
from .ctk_sliders import ctkDoubleSpinBox, ctkRangeWidget, ctkSliderWidget
from .mrml_views import qMRMLTableView
from .mrml_widgets import qMRMLNodeComboBox, qMRMLWidget
from .scripted_modules import ScriptedModule, ScriptedModuleWidget
from .segment_editor_panel import SegmentEditorWidget


def _with_scene(name: str, base: type) -> type:
    """Make a CTK widget under Slicer's name; Slicer's takes its units from the scene."""
    return type(name, (base,), {"setMRMLScene": lambda self, scene: None})


_CLASSES: dict[str, Any] = {
    "qMRMLNodeComboBox": qMRMLNodeComboBox,
    "qMRMLRangeWidget": _with_scene("qMRMLRangeWidget", ctkRangeWidget),
    "qMRMLSegmentEditorWidget": SegmentEditorWidget,
    "qMRMLSliderWidget": _with_scene("qMRMLSliderWidget", ctkSliderWidget),
    "qMRMLSpinBox": _with_scene("qMRMLSpinBox", ctkDoubleSpinBox),
    "qMRMLTableView": qMRMLTableView,
    "qMRMLWidget": qMRMLWidget,
    "qSlicerScriptedLoadableModule": ScriptedModule,
    "qSlicerScriptedLoadableModuleWidget": ScriptedModuleWidget,
    "qSlicerWidget": qMRMLWidget,
}


def python_folder() -> Path:
    """Folder of ``ScriptedLoadableModule.py`` and its kin.

    Slicer's own where the environment variable ``SLICER_PYTHON_DIR`` names a checkout of its
    ``Base/Python``; else the small ones of this folder.
    """
    checkout = os.environ.get("SLICER_PYTHON_DIR")
    return Path(checkout or Path(__file__).parent / "slicer_python") / "slicer"


def install_slicer_names() -> Any:
    """Give the package ``slicer`` the application's widgets and base classes."""
    import slicer

    folder = str(python_folder())
    if folder not in slicer.__path__:
        slicer.__path__.append(folder)
    for name, cls in _CLASSES.items():
        setattr(slicer, name, cls)

    def missing(name: str) -> Any:
        if not name.startswith(("qMRML", "qSlicer")):
            raise AttributeError(f"module 'slicer' has no attribute {name!r}")
        setattr(slicer, name, stand_in(name))
        return getattr(slicer, name)

    slicer.__getattr__ = missing
    return slicer
