"""The section Train: a monotone model on a cohort."""

from __future__ import annotations

from typing import Any

from AttribSegPanel.cohort_table import CohortTable
from AttribSegPanel.panel import Panel
from AttribSegPanel.parameters import POST_PROCESSING
from AttribSegPanel.run_section import RunSection
from AttribSegPanel.training_control import TrainingControl

from .parameters import DIVERGENCES, ENCODERS, REDUCTIONS

#: Check box of each part of the method, and the part.
_PARTS = (
    ("useMonotone", "monotone"),
    ("useInitialisation", "initialisation"),
    ("useNegativeFeatures", "negative_features"),
    ("useDivergence", "divergence"),
    ("useFeatureGradient", "feature_gradient"),
)


def recipe_from_parameters(parameters: Any) -> dict[str, Any]:
    """The monotone recipe of the form, as `attribseg train --recipe` reads it."""
    return {
        "recipe": "monotone",
        "network": parameters.network,
        "encoder": ENCODERS[parameters.encoder],
        "features": parameters.features,
        "width": parameters.width,
        "epochs": parameters.epochs,
        "batch_size": parameters.batchSize,
        "optimiser": parameters.optimiser,
        "learning_rate": parameters.learningRate,
        "negative_weight": parameters.negativeWeight,
        "divergence_weight": parameters.divergenceWeight,
        "divergence": DIVERGENCES[parameters.divergence],
        "gradient_weight": parameters.gradientWeight,
        "margin": parameters.margin,
        "ablate": [part for name, part in _PARTS if not getattr(parameters, name)],
    }


class TrainSection:
    """Trains on the cohort of the parameters."""

    def __init__(self, panel: Panel, run: RunSection) -> None:
        self._panel = panel
        self._cohort = CohortTable(panel)
        self._training = TrainingControl(panel, run, self._options)

    def refresh(self) -> None:
        """Table, buttons, and the weights of the constraints that are used."""
        ui, p = self._panel.ui, self._panel.parameters
        self._cohort.refresh()
        self._training.refresh()
        for widget, used in (
            (ui.negativeWeightSpinBox, p.useNegativeFeatures),
            (ui.divergenceWeightSpinBox, p.useDivergence),
            (ui.divergenceComboBox, p.useDivergence),
            (ui.gradientWeightSpinBox, p.useFeatureGradient),
        ):
            widget.setEnabled(used)

    def _options(self) -> dict[str, Any]:
        """What the form says, for `trainTask`."""
        p = self._panel.parameters
        return {
            "recipe": recipe_from_parameters(p),
            "device": p.trainDevice,
            "seed": p.seed,
            "falsePositiveMl": p.falsePositiveMl,
            "postProcessing": POST_PROCESSING[p.postProcessing],
            "reduction": REDUCTIONS[p.reduction],
        }
