"""``slicer.app.coreIOManager()``: files read and written by Slicer's real MRML classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .slicer_app import HeadlessSlicer

#: Storage and node class of each file type, by what Slicer calls the type.
_TYPES = {
    "SegmentationFile": ("vtkMRMLSegmentationStorageNode", "vtkMRMLSegmentationNode"),
    "TransformFile": ("vtkMRMLTransformStorageNode", "vtkMRMLTransformNode"),
    "TableFile": ("vtkMRMLTableStorageNode", "vtkMRMLTableNode"),
    "ModelFile": ("vtkMRMLModelStorageNode", "vtkMRMLModelNode"),
    "TextFile": ("vtkMRMLTextStorageNode", "vtkMRMLTextNode"),
}
_ENDINGS = {
    ".mrb": "SceneFile",
    ".mrml": "SceneFile",
    ".seg.nrrd": "SegmentationFile",
    ".seg.nhdr": "SegmentationFile",
    ".tfm": "TransformFile",
    ".h5": "TransformFile",
    ".csv": "TableFile",
    ".tsv": "TableFile",
    ".stl": "ModelFile",
    ".vtk": "ModelFile",
    ".vtp": "ModelFile",
    ".txt": "TextFile",
}


class CoreIOManager:
    """Loads and saves; what it cannot do it answers with False, as Slicer does."""

    def __init__(self, slicer_app: HeadlessSlicer) -> None:
        self._app = slicer_app

    def fileType(self, path: Any) -> str:
        """The type of a file by its ending; a volume where nothing else is known."""
        name = str(path).lower()
        return next((kind for end, kind in _ENDINGS.items() if name.endswith(end)), "VolumeFile")

    def loadNodes(
        self, kind: str, properties: dict[str, Any], loaded: Any = None, messages: Any = None
    ) -> bool:
        """Load one file into the scene; the nodes go to ``loaded``."""
        path = str(properties["fileName"])
        if not Path(path).exists():
            return False
        if kind == "SceneFile":
            return self.load_scene(Path(path), clear=bool(properties.get("clear", False)))
        node = self._volume(path, properties) if kind == "VolumeFile" else self._node(kind, path)
        if node is None:
            return False
        if properties.get("name"):
            node.SetName(str(properties["name"]))
        if loaded is not None:
            loaded.AddItem(node)
        return True

    def _volume(self, path: str, properties: dict[str, Any]) -> Any:
        from slicer.util import setSliceViewerLayers

        label, centre = 1, 2  # vtkSlicerVolumesLogic::LoadingOptions
        options = label * bool(properties.get("labelmap")) + centre * bool(properties.get("center"))
        name = str(properties.get("name") or Path(path).name.partition(".")[0])
        node = self._app.app.volumes_logic.AddArchetypeVolume(path, name, options)
        if node is not None and properties.get("show", True) and not properties.get("labelmap"):
            setSliceViewerLayers(background=node, fit=True)
        return node

    def _node(self, kind: str, path: str) -> Any:
        if kind not in _TYPES:
            return None
        storage_class, node_class = _TYPES[kind]
        scene = self._app.scene
        storage = scene.AddNewNodeByClass(storage_class)
        storage.SetFileName(path)
        node = scene.AddNewNodeByClass(node_class, Path(path).name.partition(".")[0])
        if not storage.ReadData(node):
            scene.RemoveNode(node)
            scene.RemoveNode(storage)
            return None
        node.SetAndObserveStorageNodeID(storage.GetID())
        if hasattr(node, "CreateDefaultDisplayNodes"):
            node.CreateDefaultDisplayNodes()
        return node

    def load_scene(self, path: Path, *, clear: bool) -> bool:
        """Load a scene or a bundle; one process at a time."""
        scene = self._app.scene
        if path.suffix == ".mrb":
            return bool(scene.ReadFromMRB(str(path), clear))
        scene.SetURL(str(path))
        return bool(scene.Connect() if clear else scene.Import())

    def fileWriterFileType(self, node: Any) -> str:
        """The type in which a node is written; its storage node knows."""
        return "NodeFile"

    def saveNodes(self, kind: str, properties: dict[str, Any], messages: Any = None) -> bool:
        """Save the scene, or the one node of ``properties["nodeID"]``."""
        path = Path(properties["fileName"])
        scene = self._app.scene
        if kind != "SceneFile":
            return self._save_node(scene.GetNodeByID(properties["nodeID"]), path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".mrb":
            return bool(scene.WriteToMRB(str(path)))
        scene.SetURL(str(path))
        scene.SetRootDirectory(str(path.parent))
        return bool(scene.Commit())

    def _save_node(self, node: Any, path: Path) -> bool:
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        if storage is None:
            return False
        storage.SetFileName(str(path))
        return bool(storage.WriteData(node))
