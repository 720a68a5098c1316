"""Hidden module that adds the effect "Attribution" to the Segment Editor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest

_EFFECT = Path(__file__).parent / "SegmentEditorAttributionLib" / "SegmentEditorEffect.py"


class SegmentEditorAttribution(ScriptedLoadableModule):
    """Registers the effect once Slicer has started.

    Parameters
    ----------
    parent : qSlicerScriptedLoadableModule
    """

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "SegmentEditorAttribution"
        parent.categories = ["Segmentation"]
        parent.dependencies = ["Segmentations", "AttribSeg"]
        parent.contributors = ["The AttribSeg authors"]
        parent.hidden = True
        parent.helpText = (
            "Adds the effect “Attribution” to the Segment Editor: segment lesions by thresholding "
            "a map of the volume, and correct them lesion by lesion."
        )
        parent.acknowledgementText = "Part of the extension AttribSeg."
        slicer.app.connect("startupCompleted()", self.register_effect)

    def register_effect(self) -> None:
        """Add the effect to the Segment Editor."""
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        effect = effects.qSlicerSegmentEditorScriptedEffect(None)
        effect.setPythonSource(str(_EFFECT).replace("\\", "/"))
        effect.self().register()


class SegmentEditorAttributionTest(ScriptedLoadableModuleTest):
    """Self test: the effect in a Segment Editor of its own, on a volume made here."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Threshold a map, apply, and undo."""
        import numpy as np
        from AttribSegLib.image import Geometry, Image
        from AttribSegLib.mrml import (
            attribution_node,
            mask_from_segment,
            segmentation_node_from_mask,
            volume_node_from_image,
        )

        self.setUp()
        grid = Geometry((32, 28, 20), (1.0, 1.2, 2.0))
        values = np.full(grid.size, -0.1, dtype=np.float32)
        values[5:12, 6:11, 4:9] = 0.8
        volume = volume_node_from_image(Image(values + 1, grid), name="Volume")
        attribution_node(Image(values, grid), name="Map")
        empty = Image(np.zeros(grid.size, dtype=bool), grid)
        segmentation = segmentation_node_from_mask(empty, reference_volume_node=volume)

        editor = slicer.qMRMLSegmentEditorWidget()
        editor.setMRMLScene(slicer.mrmlScene)
        editor.setMRMLSegmentEditorNode(
            slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        )
        editor.setSegmentationNode(segmentation)
        editor.setSourceVolumeNode(volume)
        editor.setCurrentSegmentID("Lesions")
        try:
            editor.setActiveEffectByName("Attribution")
            effect = editor.activeEffect()
            effect.setParameter("Threshold", "0.5")
            effect.self().onApply()
            mask = mask_from_segment(segmentation, "Lesions", reference=volume).array
            assert np.array_equal(mask, values > 0.5)
            editor.undo()
            mask = mask_from_segment(segmentation, "Lesions", reference=volume).array
            assert not mask.any()
        finally:
            editor.setActiveEffectByName("")
            editor.deleteLater()
