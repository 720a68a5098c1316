"""What the AttribSeg panel remembers, in the scene."""

from __future__ import annotations

from typing import Annotated

from slicer import (
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTableNode,
)
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

#: What stands in the panel, and the constraint of the recipe that it means; of the supervised
#: network, which has none, None.
LEARNS_FROM = {
    "image labels alone": "unsup",
    "image labels and lesion masks": "sup",
    "lesion masks alone (supervised U-Net)": None,
    "image labels, smooth maps (total variation)": "unsup_tv",
    "image labels, small gradients (Ross)": "ross",
    "image labels, smooth expected gradients (Erion)": "erion",
    "no constraint (plain classifier)": "none",
}
ATTRIBUTIONS = {
    "gradient": "gradient",
    "integrated gradients": "integrated_gradients",
    "expected gradients": "expected_gradients",
    "integrated expected gradients": "integrated_expected_gradients",
}
NETWORKS = ["patchgan", "resnet18", "resnet34", "resnet50", "resnet152", "densenet121"]
OPTIMISERS = ["adam", "adamw", "yogi", "adadelta", "sgd"]
DEVICES = ["auto", "cpu", "cuda"]
POST_PROCESSING = {
    "none": "none",
    "chosen by labels": "labels",
    "chosen by lesion masks": "masks",
}
SCANS = ["prepared when it has to be", "raw or prepared: take it as it is"]
SPACINGS = {"2 mm": 2, "1 mm": 1}
LABELS = {"healthy": 0, "pathological": 1}
SPLITS = ["test", "validation", "train"]


@parameterNodeWrapper
class AttribSegParameters:
    """Values of the controls; widgets of the same ``SlicerParameterName`` are bound to them."""

    inputVolume: vtkMRMLScalarVolumeNode
    t1Volume: vtkMRMLScalarVolumeNode

    spacing: Annotated[str, Choice(list(SPACINGS))] = "2 mm"
    stepInterslice: bool = True
    stepRegistration: bool = True
    stepBrain: bool = True
    stepN4: bool = False
    stepStandardise: bool = True
    robust: bool = False
    referenceVolume: vtkMRMLScalarVolumeNode

    bundleFolder: str
    scanIs: Annotated[str, Choice(SCANS)] = SCANS[0]
    device: Annotated[str, Choice(DEVICES)] = "auto"
    segmentation: vtkMRMLSegmentationNode
    overlay: bool = True
    opacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.6
    minimumMl: Annotated[float, WithinRange(0.0, 1000.0)] = 0.05
    smoothingMm: Annotated[float, WithinRange(0.0, 20.0)] = 0.0

    cohortPath: str
    caseVolume: vtkMRMLScalarVolumeNode
    caseT1: vtkMRMLScalarVolumeNode
    caseSegmentation: vtkMRMLSegmentationNode
    caseLabel: Annotated[str, Choice(list(LABELS))] = "pathological"
    learnsFrom: Annotated[str, Choice(list(LEARNS_FROM))] = "image labels alone"
    epochs: Annotated[int, WithinRange(1, 10000)] = 20
    width: Annotated[float, WithinRange(0.01, 4.0)] = 0.25
    falsePositiveMl: Annotated[float, WithinRange(0.0, 1000.0)] = 1.0
    attribution: Annotated[str, Choice(list(ATTRIBUTIONS))] = "gradient"
    network: Annotated[str, Choice(NETWORKS)] = "patchgan"
    alpha: Annotated[float, WithinRange(0.0, 1000.0)] = 0.05
    batchSize: Annotated[int, WithinRange(2, 256)] = 8
    optimiser: Annotated[str, Choice(OPTIMISERS)] = "adam"
    learningRate: Annotated[float, WithinRange(0.000001, 1.0)] = 0.001
    postProcessing: Annotated[str, Choice(list(POST_PROCESSING))] = "none"
    seed: Annotated[int, WithinRange(0, 1000000)] = 0
    trainDevice: Annotated[str, Choice(DEVICES)] = "auto"
    outputFolder: str

    split: Annotated[str, Choice(SPLITS)] = "test"
    maskTuned: bool = False
    evaluationTable: vtkMRMLTableNode
