"""A real MRML scene with Slicer's module logics and slice views, rendered without a display.

Support code for tests and pictures. It stands on the packages ``slicer-core`` and
``trame-slicer`` (the extra ``mrml``), which have no Qt: panels are tested elsewhere.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

#: Rows and columns of a slice view follow Slicer's presets: the patient's left on the right.
ORIENTATIONS = ("Axial", "Coronal", "Sagittal")


class HeadlessSlicer:
    """Scene, module logics and slice views of Slicer in this process.

    Use it as a context manager, one at a time: VTK's factories of displayable managers are
    shared by the whole process.

    >>> with HeadlessSlicer() as slicer_app:                                # doctest: +SKIP
    ...     volume = slicer_app.load_volume("FLAIR.nii.gz")
    ...     slicer_app.load_segmentation("lesions.seg.nrrd")
    ...     slicer_app.render_slice("axial.png", "Axial", (8, -25, -11), background=volume)
    """

    def __init__(self) -> None:
        from trame_slicer.core import SlicerApp

        self.app = SlicerApp()
        self._views: dict[str, Any] = {}

    @property
    def scene(self) -> Any:
        """The ``vtkMRMLScene``."""
        return self.app.scene

    def __enter__(self) -> HeadlessSlicer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the views, then the scene; rendering contexts must not outlive their nodes."""
        for name, view in self._views.items():
            if name in ORIENTATIONS:
                view.set_background_volume_id(None)
                view.set_foreground_volume_id(None)
            view.finalize()
        self._views.clear()
        self.app.scene.Clear(False)
        gc.collect()

    def load_volume(self, path: str | Path) -> Any:
        """Load a volume file with Slicer's own storage node.

        Raises
        ------
        RuntimeError
            If Slicer cannot read it.
        """
        nodes = self.app.io_manager.load_volumes(str(path))
        if not nodes:
            raise RuntimeError(f"{path}: Slicer reads no volume from this file")
        return nodes[0]

    def load_segmentation(self, path: str | Path) -> Any:
        """Load a ``.seg.nrrd`` file with Slicer's own ``vtkMRMLSegmentationStorageNode``.

        Raises
        ------
        RuntimeError
            If Slicer cannot read it.
        """
        node = self.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", Path(path).name)
        storage = self._storage(path)
        if not storage.ReadData(node):
            raise RuntimeError(f"{path}: Slicer reads no segmentation from this file")
        node.SetAndObserveStorageNodeID(storage.GetID())
        node.CreateDefaultDisplayNodes()
        return node

    def save_segmentation(self, node: Any, path: str | Path) -> None:
        """Save a segmentation node as Slicer does.

        Raises
        ------
        RuntimeError
            If Slicer cannot write it.
        """
        if not self._storage(path).WriteData(node):
            raise RuntimeError(f"{path}: Slicer cannot write this segmentation")

    def _storage(self, path: str | Path) -> Any:
        storage = self.scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
        storage.SetFileName(str(path))
        return storage

    def render_slice(
        self,
        path: str | Path,
        orientation: str = "Axial",
        centre_ras: Sequence[float] | None = None,
        *,
        background: Any,
        foreground: Any = None,
        opacity: float = 1.0,
        size: tuple[int, int] = (500, 500),
        field_of_view_mm: float | None = None,
    ) -> Path:
        """Render a slice view, with the scene's visible segmentations, into a PNG file.

        Parameters
        ----------
        path : path
            Picture to write.
        orientation : {"Axial", "Coronal", "Sagittal"}
            Plane in the patient's axes.
        centre_ras : sequence of float, optional
            RAS point in mm in the middle of the picture; default the volume's centre.
        background, foreground : vtkMRMLVolumeNode
            Volumes of the two layers.
        opacity : float
            Opacity of the foreground.
        size : tuple of int
            Width and height of the picture, in pixels.
        field_of_view_mm : float, optional
            Width of the picture; default what shows the whole volume.
        """
        view = self.view(orientation)
        view.render_window().SetSize(*size)
        view.set_background_volume_id(background.GetID())
        view.set_foreground_volume_id(foreground.GetID() if foreground is not None else None)
        view.set_foreground_opacity(opacity)
        view.set_orientation(orientation)
        view.fit_view_to_content()
        slice_node = view.get_view_node()
        if field_of_view_mm is not None:
            depth = slice_node.GetFieldOfView()[2]
            slice_node.SetFieldOfView(field_of_view_mm, field_of_view_mm * size[1] / size[0], depth)
        if centre_ras is not None:
            slice_node.JumpSliceByCentering(*(float(x) for x in centre_ras))
        _draw_volumes_first(view.first_renderer())
        view.render_window().Render()
        return write_png(view.render_window(), Path(path))

    def render_3d(
        self,
        path: str | Path,
        *,
        direction: str = "ANTERIOR",
        size: tuple[int, int] = (500, 500),
    ) -> Path:
        """Render the 3D view, with what the scene shows in it, into a PNG file.

        Parameters
        ----------
        path : path
            Picture to write.
        direction : {"LEFT", "RIGHT", "POSTERIOR", "ANTERIOR", "INFERIOR", "SUPERIOR"}
            Where the camera stands.
        size : tuple of int
            Width and height of the picture, in pixels.
        """
        from trame_slicer.views import ThreeDView, ViewDirection

        if "3D" not in self._views:
            view = ThreeDView(self.scene, self.app.app_logic, "3D")
            view.set_render_blocked(True)
            self._views["3D"] = view
        view = self._views["3D"]
        view.render_window().SetSize(*size)
        view.rotate_to_view_direction(ViewDirection[direction])
        view.reset_focal_point()
        view.first_renderer().ResetCamera()
        view.render_window().Render()
        return write_png(view.render_window(), Path(path))

    def view(self, orientation: str) -> Any:
        """The slice view of an orientation, made at its first use."""
        if orientation not in ORIENTATIONS:
            raise ValueError(f"orientation {orientation!r}: one of {', '.join(ORIENTATIONS)}")
        if orientation not in self._views:
            from trame_slicer.views import SliceView

            view = SliceView(self.scene, self.app.app_logic, orientation)
            # Every change of a node would render every view; pictures are rendered on request.
            view.set_render_blocked(True)
            view.render_window().SetMultiSamples(0)
            view.set_background_color([0, 0, 0])
            self._views[orientation] = view
        return self._views[orientation]


def _draw_volumes_first(renderer: Any) -> None:
    """Move the volumes' picture before the segments, or these blend with black instead of it.

    The view adds it last; being in the background, it is then hidden by depth.
    """
    background = 0  # VTK_BACKGROUND_LOCATION
    props = renderer.GetViewProps()
    for prop in list(props):
        if prop.IsA("vtkActor2D") and prop.GetProperty().GetDisplayLocation() == background:
            props.RemoveItem(prop)
            props.InsertItem(-1, prop)


def write_png(window: Any, path: Path) -> Path:
    """Write what a render window shows."""
    from vtkmodules.vtkIOImage import vtkPNGWriter
    from vtkmodules.vtkRenderingCore import vtkWindowToImageFilter

    grab = vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    writer = vtkPNGWriter()
    writer.SetInputConnection(grab.GetOutputPort())
    writer.SetFileName(str(path))
    writer.Write()
    return path
