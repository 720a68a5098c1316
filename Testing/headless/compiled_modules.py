"""Slicer's own modules, as ``slicer.modules`` has them: a name, and a real logic."""

from __future__ import annotations

from typing import Any

#: Logics that the application of trame-slicer has made, by module.
_MADE = {
    "Colors": "color_logic",
    "Data": "data_logic",
    "Segmentations": "segmentations_logic",
    "SubjectHierarchy": "subject_hierarchy_logic",
    "Terminologies": "terminologies_logic",
    "Volumes": "volumes_logic",
}
#: Logics that are made here.
_OTHERS = {
    "Models": "vtkSlicerModelsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Transforms": "vtkSlicerTransformLogic",
}


class CompiledModule:
    """A module without a panel."""

    path = ""

    def __init__(self, name: str, logic: Any = None) -> None:
        self.name, self.title, self._logic = name, name, logic

    def logic(self) -> Any:
        """The module's logic."""
        return self._logic

    def widgetRepresentation(self) -> Any:
        """The module's panel: none."""
        return None


def compiled_modules(app: Any) -> list[CompiledModule]:
    """Modules of a ``trame_slicer`` application."""
    import slicer

    modules = [CompiledModule(name, getattr(app, attribute)) for name, attribute in _MADE.items()]
    modules.append(CompiledModule("Markups", app.markups_logic._logic))
    for name, class_name in _OTHERS.items():
        logic = app.register_module_logic(getattr(slicer, class_name)(), logic_name=name)
        modules.append(CompiledModule(name, logic))
    return modules
