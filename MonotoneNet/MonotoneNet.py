"""MonotoneNet: monotone networks and counterfactual maps, in 3D Slicer.

The module, its panel, its logic and its self test. Panels are in `MonotoneNetPanel`, what happens
to nodes in `MonotoneNetScene`, and the networks in `MonotoneNetLib`. It stands on the module
AttribSeg.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from AttribSegPanel.module_widget import PanelWidget
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
)

if TYPE_CHECKING:
    from AttribSegScene.cohort_tasks import TrainingResult, TrainTask
    from AttribSegScene.detection_nodes import DetectionNodes
    from AttribSegScene.task import Task
    from MonotoneNetPanel.parameters import MonotoneNetParameters
    from MonotoneNetScene.inspect_task import Inspection


class MonotoneNet(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent: Any) -> None:
        super().__init__(parent)
        parent.title = _("MonotoneNet")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["AttribSeg", "Segmentations", "SegmentEditor"]
        parent.contributors = ["The AttribSeg developers"]
        parent.helpText = _(
            "Classifiers in which more of a feature can only make an image more pathological, "
            "proved part by part. What has to go from each feature for the image to be called "
            "healthy is a counterfactual map; thresholded, it segments the lesions. Convert and "
            "inspect a network, train a model on a cohort, and choose the channel that shows the "
            "lesions best. Research software, not a medical device."
        )
        parent.acknowledgementText = _(
            "The method is described in chapter 6 of the PhD thesis of V. Wargnier-Dauchelle. The "
            "code is an independent implementation under the MIT licence."
        )


class MonotoneNetWidget(PanelWidget):
    """The panel: made of the sections in `MonotoneNetPanel`."""

    def makeLogic(self) -> MonotoneNetLogic:
        """The module's logic."""
        return MonotoneNetLogic()

    def makePanel(self, ui: Any, logic: Any) -> Any:
        """The panel of this module."""
        from MonotoneNetPanel.sections import MonotoneNetPanel

        return MonotoneNetPanel(ui, logic)


class MonotoneNetLogic(ScriptedLoadableModuleLogic):
    """Everything that the panel does, for the Python console and scripts.

    Methods named by a verb (`inspect`, `train`, `counterfactual`, `chooseChannel`,
    `segmentChannels`) wait for the result and keep the window alive meanwhile; those that end in
    ``Task`` give the run itself (`AttribSegScene.task.Task`) to whoever wants to watch it.

    Attributes
    ----------
    workFolder : Path
        Every run gets a folder in it, with its log and results.
    """

    def __init__(self) -> None:
        super().__init__()
        self.workFolder = Path(slicer.app.temporaryPath or tempfile.gettempdir()) / "MonotoneNet"

    def getParameterNode(self) -> MonotoneNetParameters:
        """Parameters of the panel in the scene."""
        from MonotoneNetPanel.parameters import MonotoneNetParameters

        return MonotoneNetParameters(super().getParameterNode())

    def inspect(self, **options: Any) -> Inspection:
        """Convert a network to monotone form, or open a trained model, and prove what it is.

        Parameters
        ----------
        **options
            ``network`` (such as "resnet18"), ``dimensions`` (2 or 3), ``inChannels``, ``width``;
            or ``bundle``, the folder of a model. See
            :func:`MonotoneNetScene.inspect_task.inspect_task`.

        Returns
        -------
        Inspection
            The certificate in words; nodes of the report, the table and the plot by depth.

        Raises
        ------
        InputError
            If it is not monotone or cannot be made so; the message names the part.

        Examples
        --------
        >>> found = MonotoneNetLogic().inspect(network="resnet18", dimensions=2)  # doctest: +SKIP
        >>> print(found.verdict)                                                  # doctest: +SKIP
        """
        return self._wait(self.inspectTask(**options))

    def train(
        self, cohort: str | Path, out: str | Path, *, recipe: Mapping[str, Any], **options: Any
    ) -> TrainingResult:
        """Train a monotone model on a cohort.

        Parameters
        ----------
        cohort : path
            Table of the cohort (CSV).
        out : path
            Folder of the model to make.
        recipe : mapping
            Such as ``{"recipe": "monotone", "features": 8, "epochs": 20}``.
        **options
            ``device``, ``seed``, ``falsePositiveMl``, ``postProcessing``, ``reduction``,
            ``resume``, ``overwrite``; see :func:`AttribSegScene.cohort_tasks.train_task`.

        Returns
        -------
        TrainingResult
            The model's card and the plot of its training.

        Raises
        ------
        InputError
            If the cohort does not allow training or the run fails.
        """
        return self._wait(self.trainTask(cohort, out, recipe=recipe, **options))

    def counterfactual(self, volume: Any, bundle: str | Path, **options: Any) -> DetectionNodes:
        """Make the counterfactual maps of a volume, raw or prepared, and segment its lesions.

        Parameters
        ----------
        volume : vtkMRMLScalarVolumeNode
            The model's first channel that is not T1.
        bundle : path
            Folder of a trained monotone model.
        **options
            ``t1``, ``brain`` (nodes), ``minimumMl``, ``threshold`` (numbers), ``device``,
            ``prepared`` (bool); see :func:`AttribSegScene.detect_task.detect_task`.

        Returns
        -------
        DetectionNodes
            Segmentation, lesion table, and a map for every channel
            (``channel_attribution_nodes``).

        Raises
        ------
        InputError
            If volume and model do not fit or the run fails; the message says what to do.

        Examples
        --------
        >>> logic = MonotoneNetLogic()                                            # doctest: +SKIP
        >>> found = logic.counterfactual(flair, "my_model")                       # doctest: +SKIP
        >>> logic.chooseChannel(found.segmentation_node, "feature3")              # doctest: +SKIP
        """
        return self._wait(self.counterfactualTask(volume, bundle, **options))

    def chooseChannel(self, segmentation: Any, channel: str, **options: Any) -> DetectionNodes:
        """Make the map of a channel the one that is thresholded and segmented.

        Parameters
        ----------
        segmentation : vtkMRMLSegmentationNode
            Of counterfactual maps.
        channel : str
            Such as ``"feature3"``; ``"as detected"`` goes back to the model's own map.
        **options
            ``threshold``, ``minimumMl``, ``smoothingMm`` (numbers), ``discardEdits`` (bool); see
            :func:`MonotoneNetScene.channel_tasks.choose_channel_task`.

        Returns
        -------
        DetectionNodes
            The same nodes, filled again.

        Raises
        ------
        InputError
            If there is no such channel, or the segment was edited by hand.
        """
        return self._wait(self.chooseChannelTask(segmentation, channel, **options))

    def segmentChannels(self, segmentation: Any, *, threshold: float | None = None) -> Any:
        """Segment every channel's map, side by side.

        Parameters
        ----------
        segmentation : vtkMRMLSegmentationNode
            Of counterfactual maps.
        threshold : float, optional
            Instead of the one in force.

        Returns
        -------
        vtkMRMLSegmentationNode
            With a segment for each channel.

        Raises
        ------
        InputError
            If there are no maps by channel.
        """
        return self._wait(self.segmentChannelsTask(segmentation, threshold=threshold))

    def inspectTask(
        self,
        *,
        network: str = "patchgan",
        dimensions: int = 3,
        inChannels: int = 1,
        width: float = 1.0,
        bundle: str | Path = "",
    ) -> Task[Inspection]:
        """The run of `inspect`, not started yet."""
        from MonotoneNetScene.inspect_task import inspect_task

        self._ensure()
        return inspect_task(
            network=network,
            dimensions=dimensions,
            in_channels=inChannels,
            width=width,
            bundle=bundle,
            scene=slicer.mrmlScene,
            work_folder=self.workFolder,
        )

    def trainTask(
        self,
        cohort: str | Path,
        out: str | Path,
        *,
        recipe: Mapping[str, Any],
        device: str = "auto",
        seed: int = 0,
        falsePositiveMl: float = 1.0,
        postProcessing: str = "none",
        reduction: str = "labels",
        resume: bool = False,
        overwrite: bool = False,
    ) -> TrainTask:
        """The run of `train`, not started yet."""
        from AttribSegScene.cohort_tasks import train_task

        self._ensure()
        return train_task(
            cohort,
            out,
            recipe={"recipe": "monotone", **recipe},
            device=device,
            seed=seed,
            false_positive_ml=falsePositiveMl,
            post_processing=postProcessing,
            reduction=reduction,
            resume=resume,
            overwrite=overwrite,
            scene=slicer.mrmlScene,
            work_folder=self.workFolder,
        )

    def counterfactualTask(
        self,
        volume: Any,
        bundle: str | Path,
        *,
        t1: Any = None,
        brain: Any = None,
        minimumMl: float = 0.0,
        threshold: float | None = None,
        device: str = "auto",
        prepared: bool | None = None,
    ) -> Task[DetectionNodes]:
        """The run of `counterfactual`, not started yet."""
        from AttribSegScene.detect_task import detect_task
        from MonotoneNetScene.channels import require_monotone

        require_monotone(bundle)
        self._ensure()
        return detect_task(
            volume,
            bundle,
            t1=t1,
            brain=brain,
            minimum_ml=minimumMl,
            threshold=threshold,
            device=device,
            prepared=prepared,
            work_folder=self.workFolder,
        )

    def chooseChannelTask(
        self,
        segmentation: Any,
        channel: str,
        *,
        threshold: float | None = None,
        minimumMl: float = 0.0,
        smoothingMm: float = 0.0,
        discardEdits: bool = False,
    ) -> Task[DetectionNodes]:
        """The run of `chooseChannel`, not started yet."""
        from AttribSegScene.detection_nodes import DetectionNodes
        from MonotoneNetScene.channel_tasks import choose_channel_task

        return choose_channel_task(
            DetectionNodes.of(segmentation),
            channel,
            threshold=threshold,
            minimum_ml=minimumMl,
            smoothing_mm=smoothingMm,
            discard_edits=discardEdits,
        )

    def segmentChannelsTask(
        self, segmentation: Any, *, threshold: float | None = None
    ) -> Task[Any]:
        """The run of `segmentChannels`, not started yet."""
        from AttribSegScene.detection_nodes import DetectionNodes
        from MonotoneNetScene.channel_tasks import segment_channels_task

        return segment_channels_task(DetectionNodes.of(segmentation), threshold=threshold)

    def _ensure(self) -> None:
        """The packages that a run needs are asked for once."""
        from AttribSegPanel.dependencies import ensure

        ensure()

    def _wait(self, task: Any) -> Any:
        return task.wait(slicer.app.processEvents)


class MonotoneNetTest(ScriptedLoadableModuleTest):
    """The real workflow on simulated data, in under two minutes."""

    def setUp(self) -> None:
        """Begin with an empty scene; without PyTorch there is nothing to test."""
        from AttribSegPanel.dependencies import missing

        if missing():
            self.skipTest(f"{', '.join(missing())} not installed")
        slicer.mrmlScene.Clear()

    def runTest(self, **_: Any) -> None:
        """Run all tests; Slicer calls this."""
        self.setUp()
        self.test_inspection()
        self.setUp()
        self.test_training_and_channels()

    def test_inspection(self) -> None:
        """A small network is converted and certified."""
        from MonotoneNetPanel.self_test import inspection

        with tempfile.TemporaryDirectory() as folder:
            inspection(MonotoneNetLogic(), Path(folder))

    def test_training_and_channels(self) -> None:
        """A model is trained on simulated brains, its maps are made and a channel is chosen."""
        from MonotoneNetPanel.self_test import training_and_channels

        with tempfile.TemporaryDirectory() as folder:
            training_and_channels(MonotoneNetLogic(), Path(folder))
