"""AttribSeg: brain lesions segmented from image-level labels, in 3D Slicer.

The module, its panel, its logic and its self test. Panels are in `AttribSegPanel`, what happens to
nodes in `AttribSegScene`, and everything that needs no scene in `AttribSegLib`.
"""

from __future__ import annotations

import getpass
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
    from AttribSegLib.cohort_state import CohortRow
    from AttribSegPanel.parameters import AttribSegParameters
    from AttribSegScene.cohort_tasks import EvaluationResult, TrainingResult, TrainTask
    from AttribSegScene.detection_nodes import DetectionNodes
    from AttribSegScene.preprocess_task import PreprocessResult
    from AttribSegScene.task import Task


class AttribSeg(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent: Any) -> None:
        super().__init__(parent)
        parent.title = _("AttribSeg")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "SegmentEditor"]
        parent.contributors = ["The AttribSeg developers"]
        parent.helpText = _(
            "Segments brain lesions with models that were trained on image-level labels alone: "
            "healthy or pathological. Choose a FLAIR under Inputs and a model under Detect, press "
            "Detect, and drag the threshold; correct the segment in the Segment Editor and send it "
            "to a cohort, from which the next training learns. Research software, not a medical "
            "device."
        )
        parent.acknowledgementText = _(
            "The method is described in V. Wargnier-Dauchelle et al., A weakly supervised gradient "
            "attribution constraint for interpretable classification and anomaly detection, IEEE "
            "Transactions on Medical Imaging 42(11):3336-3347, 2023. The code is an independent "
            "implementation under the MIT licence."
        )
        slicer.app.connect("startupCompleted()", _register_sample_data)


def _register_sample_data() -> None:
    from AttribSegPanel.sample_data import register

    register()


class AttribSegWidget(PanelWidget):
    """The panel: made of the sections in `AttribSegPanel`."""

    def makeLogic(self) -> AttribSegLogic:
        """The module's logic."""
        return AttribSegLogic()

    def makePanel(self, ui: Any, logic: Any) -> Any:
        """The panel of this module."""
        from AttribSegPanel.sections import AttribSegPanel

        return AttribSegPanel(ui, logic)


class AttribSegLogic(ScriptedLoadableModuleLogic):
    """Everything that the panel does, for the Python console and scripts.

    Methods named by a verb (`preprocess`, `detect`, `train`, `evaluate`, `addCorrection`) wait for
    the result and keep the window alive meanwhile; those that end in ``Task`` give the run itself
    (`AttribSegScene.task.Task`) to whoever wants to watch it.

    Attributes
    ----------
    workFolder : Path
        Every run gets a folder in it, with its log and results.
    """

    def __init__(self) -> None:
        super().__init__()
        self.workFolder = Path(slicer.app.temporaryPath or tempfile.gettempdir()) / "AttribSeg"

    def getParameterNode(self) -> AttribSegParameters:
        """Parameters of the panel in the scene."""
        from AttribSegPanel.parameters import AttribSegParameters

        return AttribSegParameters(super().getParameterNode())

    def preprocess(self, volume: Any, **options: Any) -> PreprocessResult:
        """Bring a raw scan to the atlas.

        Parameters
        ----------
        volume : vtkMRMLScalarVolumeNode
            FLAIR, or a T1 by its name.
        **options
            ``t1``, ``brain``, ``reference`` (nodes), ``spacing`` (1 or 2 mm), ``steps``
            (sequence of str), ``robust`` (bool); see
            :func:`AttribSegScene.preprocess_task.preprocess_task`.

        Returns
        -------
        PreprocessResult
            Nodes of the prepared channels, the brain mask and the transforms, and warnings.

        Raises
        ------
        InputError
            If the volume cannot be used or the run fails; the message says what to do.

        Examples
        --------
        >>> result = AttribSegLogic().preprocess(flair, t1=t1, spacing=2)        # doctest: +SKIP
        >>> result.volumes["FLAIR"], result.transforms["FLAIR"]                  # doctest: +SKIP
        """
        return self._wait(self.preprocessTask(volume, **options))

    def detect(self, volume: Any, bundle: str | Path, **options: Any) -> DetectionNodes:
        """Detect the lesions of a volume, raw or prepared.

        Parameters
        ----------
        volume : vtkMRMLScalarVolumeNode
            The model's first channel that is not T1.
        bundle : path
            Folder of a trained model.
        **options
            ``t1``, ``brain`` (nodes), ``minimumMl``, ``threshold`` (numbers), ``device``,
            ``prepared`` (bool); see :func:`AttribSegScene.detect_task.detect_task`.

        Returns
        -------
        DetectionNodes
            Segmentation, attribution, lesion table, probability and class.

        Raises
        ------
        InputError
            If volume and model do not fit or the run fails; the message says what to do.

        Examples
        --------
        >>> found = AttribSegLogic().detect(flair, "my_model", minimumMl=0.05)   # doctest: +SKIP
        >>> found.probability, found.segmentation_node                           # doctest: +SKIP
        """
        return self._wait(self.detectTask(volume, bundle, **options))

    def train(
        self, cohort: str | Path, out: str | Path, *, recipe: Mapping[str, Any], **options: Any
    ) -> TrainingResult:
        """Train a model on a cohort.

        Parameters
        ----------
        cohort : path
            Table of the cohort (CSV).
        out : path
            Folder of the model to make.
        recipe : mapping
            Such as ``{"recipe": "attribution", "constraint": "unsup", "epochs": 20}``.
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

    def evaluate(self, cohort: str | Path, bundle: str | Path, **options: Any) -> EvaluationResult:
        """Evaluate a model on a split of a cohort, beside the plain intensity threshold.

        Parameters
        ----------
        cohort, bundle : path
        **options
            ``split``, ``maskTuned``, ``device``; see
            :func:`AttribSegScene.cohort_tasks.evaluate_task`.

        Returns
        -------
        EvaluationResult
            Nodes of the table and the curves, and the folder of the report.

        Raises
        ------
        InputError
            If cohort and model do not fit or the run fails.
        """
        return self._wait(self.evaluateTask(cohort, bundle, **options))

    def addCorrection(self, segmentation: Any, cohort: str | Path, **options: Any) -> CohortRow:
        """Send a corrected detection to a cohort; the next training learns from it (eq. 5.8).

        Parameters
        ----------
        segmentation : vtkMRMLSegmentationNode
            Of a detection.
        cohort : path
            Table of the cohort.
        **options
            ``author`` (by default the user's name), ``patient``, ``t1`` (node).

        Returns
        -------
        CohortRow
            The case in the cohort.

        Raises
        ------
        InputError
            If the segmentation is no detection or does not fit the cohort.
        """
        return self._wait(self.addCorrectionTask(segmentation, cohort, **options))

    def addCase(self, cohort: str | Path, volume: Any, *, label: int, **options: Any) -> CohortRow:
        """Add a volume of the scene to a cohort.

        Parameters
        ----------
        cohort : path
        volume : vtkMRMLScalarVolumeNode
        label : {0, 1}
            Healthy or pathological.
        **options
            ``patient``, ``t1``, ``brain``, ``lesions``.
        """
        return self._wait(self.addCaseTask(cohort, volume, label=label, **options))

    def preprocessTask(self, volume: Any, **options: Any) -> Task[PreprocessResult]:
        """The run of `preprocess`, not started yet."""
        from AttribSegScene.preprocess_task import preprocess_task

        return self._make(preprocess_task, volume, **options)

    def prepareCohortTask(self, cohort: str | Path, out: str | Path, **options: Any) -> Task[Path]:
        """The run that brings all cases of a cohort to the atlas."""
        from AttribSegScene.cohort_tasks import prepare_cohort_task

        return self._make(prepare_cohort_task, cohort, out, **options)

    def detectTask(
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
        """The run of `detect`, not started yet."""
        from AttribSegScene.detect_task import detect_task

        return self._make(
            detect_task,
            volume,
            bundle,
            t1=t1,
            brain=brain,
            minimum_ml=minimumMl,
            threshold=threshold,
            device=device,
            prepared=prepared,
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

        return self._make(
            train_task,
            cohort,
            out,
            recipe=recipe,
            device=device,
            seed=seed,
            false_positive_ml=falsePositiveMl,
            post_processing=postProcessing,
            reduction=reduction,
            resume=resume,
            overwrite=overwrite,
            scene=slicer.mrmlScene,
        )

    def evaluateTask(
        self,
        cohort: str | Path,
        bundle: str | Path,
        *,
        split: str = "test",
        maskTuned: bool = False,
        device: str = "auto",
    ) -> Task[EvaluationResult]:
        """The run of `evaluate`, not started yet."""
        from AttribSegScene.cohort_tasks import evaluate_task

        return self._make(
            evaluate_task,
            cohort,
            bundle,
            split=split,
            mask_tuned=maskTuned,
            device=device,
            scene=slicer.mrmlScene,
        )

    def addCaseTask(
        self, cohort: str | Path, volume: Any, *, label: int, **options: Any
    ) -> Task[CohortRow]:
        """The task of `addCase`, not started yet."""
        from AttribSegScene.case_tasks import add_case_task

        return add_case_task(cohort, volume, label=label, **options)

    def addCorrectionTask(
        self,
        segmentation: Any,
        cohort: str | Path,
        *,
        author: str = "",
        patient: str = "",
        t1: Any = None,
    ) -> Task[CohortRow]:
        """The task of `addCorrection`, not started yet."""
        from AttribSegScene.case_tasks import add_correction_task

        return add_correction_task(
            segmentation, cohort, author=author or getpass.getuser(), patient=patient, t1=t1
        )

    def _make(self, make: Any, *arguments: Any, **options: Any) -> Any:
        """Make a run, once the packages that it needs are there."""
        from AttribSegPanel.dependencies import ensure

        ensure()
        return make(*arguments, work_folder=self.workFolder, **options)

    def _wait(self, task: Any) -> Any:
        return task.wait(slicer.app.processEvents)


class AttribSegTest(ScriptedLoadableModuleTest):
    """The real workflow on the sample data, in under two minutes."""

    def setUp(self) -> None:
        """Begin with an empty scene; without PyTorch there is nothing to test."""
        from AttribSegPanel.dependencies import missing

        if missing():
            self.skipTest(f"{', '.join(missing())} not installed")
        slicer.mrmlScene.Clear()

    def runTest(self, **_: Any) -> None:
        """Run all tests; Slicer calls this."""
        self.setUp()
        self.test_detection_threshold_and_correction()
        self.setUp()
        self.test_training()

    def test_detection_threshold_and_correction(self) -> None:
        """A detection with the demonstration model, a threshold, a correction in a cohort."""
        from AttribSegPanel.self_test import detection_threshold_and_correction

        with tempfile.TemporaryDirectory() as folder:
            detection_threshold_and_correction(AttribSegLogic(), Path(folder))

    def test_training(self) -> None:
        """Two epochs on a simulated cohort, stopped and resumed."""
        from AttribSegPanel.self_test import training

        with tempfile.TemporaryDirectory() as folder:
            training(AttribSegLogic(), Path(folder))
