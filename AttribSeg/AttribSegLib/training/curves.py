"""The picture of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import atomic_path


def draw_curves(history: Sequence[dict[str, Any]], path: str | Path, best_epoch: int) -> None:
    """Losses, the constraint, and validation TPR, TNR and AUROC over the epochs, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    epochs = [record["epoch"] for record in history]
    panels: list[tuple[str, dict[str, str]]] = [
        (
            "Classification loss",
            {"train_classification": "training", "validation_loss": "validation"},
        ),
        (
            "Reconstruction loss",
            {"train_reconstruction": "training", "validation_loss": "validation, healthy"},
        ),
        ("Constraint: $L_A$ - log 2", {"train_constraint_gain": "training, healthy"}),
        (
            "Validation",
            {"validation_auroc": "AUROC", "validation_tpr": "TPR", "validation_tnr": "TNR"},
        ),
    ]
    # The first key of a panel is what it is about.
    panels = [(title, keys) for title, keys in panels if next(iter(keys)) in history[-1]]
    figure = Figure(figsize=(4.4 * len(panels), 3.4), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (title, keys) in zip(axes, panels, strict=True):
        for key, label in keys.items():
            if key in history[-1]:
                values = [record.get(key, float("nan")) for record in history]
                axis.plot(epochs, values, ".-", label=label)
        axis.axvline(best_epoch, color="0.6", linestyle=":", label=f"kept: epoch {best_epoch}")
        axis.set(title=title, xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, frameon=False)
        if title == "Validation":
            axis.set_ylim(-0.02, 1.02)
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))
