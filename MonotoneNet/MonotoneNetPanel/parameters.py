"""What the MonotoneNet panel remembers, in the scene."""

from __future__ import annotations

from typing import Annotated

from AttribSegPanel.parameters import DEVICES, NETWORKS, OPTIMISERS, POST_PROCESSING, SCANS
from slicer import (
    vtkMRMLPlotChartNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTableNode,
    vtkMRMLTextNode,
)
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

#: What stands in the panel, and what the command line calls it.
DIMENSIONS = {"3D volumes": 3, "2D slices": 2}
ENCODERS = {"two convolutions": "convolutions", "U-Net": "unet"}
DIVERGENCES = {"Kullback-Leibler": "kl", "Hellinger": "hellinger"}
REDUCTIONS = {
    "one channel, chosen by labels": "labels",
    "one channel, chosen by lesion masks": "masks",
    "mean over channels": "mean",
    "maximum over channels": "maximum",
}


@parameterNodeWrapper
class MonotoneNetParameters:
    """Values of the controls; widgets of the same ``SlicerParameterName`` are bound to them."""

    inspectNetwork: Annotated[str, Choice(NETWORKS)] = "patchgan"
    inspectDimensions: Annotated[str, Choice(list(DIMENSIONS))] = "3D volumes"
    inspectChannels: Annotated[int, WithinRange(1, 1024)] = 8
    inspectWidth: Annotated[float, WithinRange(0.03125, 4.0)] = 0.25
    inspectBundle: str
    inspectReport: vtkMRMLTextNode
    inspectTable: vtkMRMLTableNode
    inspectChart: vtkMRMLPlotChartNode

    cohortPath: str
    epochs: Annotated[int, WithinRange(1, 10000)] = 20
    width: Annotated[float, WithinRange(0.03125, 4.0)] = 0.25
    features: Annotated[int, WithinRange(1, 64)] = 8
    falsePositiveMl: Annotated[float, WithinRange(0.0, 1000.0)] = 1.0
    reduction: Annotated[str, Choice(list(REDUCTIONS))] = "one channel, chosen by labels"
    negativeWeight: Annotated[float, WithinRange(0.0, 1000.0)] = 0.1
    divergenceWeight: Annotated[float, WithinRange(0.0, 1000.0)] = 1.0
    gradientWeight: Annotated[float, WithinRange(0.0, 1000.0)] = 0.001
    divergence: Annotated[str, Choice(list(DIVERGENCES))] = "Kullback-Leibler"
    useMonotone: bool = True
    useInitialisation: bool = True
    useNegativeFeatures: bool = True
    useDivergence: bool = True
    useFeatureGradient: bool = True
    network: Annotated[str, Choice(NETWORKS)] = "patchgan"
    encoder: Annotated[str, Choice(list(ENCODERS))] = "two convolutions"
    margin: Annotated[float, WithinRange(-1000.0, 0.0)] = -15.0
    batchSize: Annotated[int, WithinRange(2, 256)] = 8
    optimiser: Annotated[str, Choice(OPTIMISERS)] = "adam"
    learningRate: Annotated[float, WithinRange(0.000001, 1.0)] = 0.001
    postProcessing: Annotated[str, Choice(list(POST_PROCESSING))] = "none"
    seed: Annotated[int, WithinRange(0, 1000000)] = 0
    trainDevice: Annotated[str, Choice(DEVICES)] = "auto"
    outputFolder: str

    inputVolume: vtkMRMLScalarVolumeNode
    t1Volume: vtkMRMLScalarVolumeNode
    bundleFolder: str
    scanIs: Annotated[str, Choice(SCANS)] = SCANS[0]
    device: Annotated[str, Choice(DEVICES)] = "auto"
    segmentation: vtkMRMLSegmentationNode
    overlay: bool = True
    opacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.6
    minimumMl: Annotated[float, WithinRange(0.0, 1000.0)] = 0.05
    smoothingMm: Annotated[float, WithinRange(0.0, 20.0)] = 0.0
