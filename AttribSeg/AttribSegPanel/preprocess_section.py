"""The section Preprocess: a raw scan to the atlas."""

from __future__ import annotations

from typing import Any

from .bindings import NodeBinding
from .panel import Panel
from .parameters import SPACINGS
from .run_section import RunSection
from .views import show_volume

_STEPS = (
    ("stepInterslice", "interslice"),
    ("stepRegistration", "registration"),
    ("stepBrain", "brain"),
    ("stepN4", "n4"),
    ("stepStandardise", "standardise"),
)


def chosen_steps(parameters: Any) -> list[str]:
    """Steps that are ticked, in the order of the chain."""
    steps = [step for name, step in _STEPS if getattr(parameters, name)]
    if parameters.referenceVolume is not None:
        steps.append("match")
    return steps


class PreprocessSection:
    """Runs the chain on the volumes under Inputs."""

    def __init__(self, panel: Panel, run: RunSection, brain: NodeBinding) -> None:
        self._panel, self._run, self._brain = panel, run, brain
        panel.ui.preprocessButton.connect("clicked(bool)", panel.guarded(self._on_prepare))

    def refresh(self) -> None:
        """The button waits for a volume."""
        p = self._panel.parameters
        ready = p.inputVolume is not None or p.t1Volume is not None or self._run.task is not None
        self._panel.ui.preprocessButton.setEnabled(ready)

    def _on_prepare(self) -> None:
        p, logic = self._panel.parameters, self._panel.logic
        self._run.toggle(
            self._panel.ui.preprocessButton,
            lambda: logic.preprocessTask(
                p.inputVolume,
                t1=p.t1Volume,
                brain=self._brain.node,
                reference=p.referenceVolume,
                spacing=SPACINGS[p.spacing],
                steps=chosen_steps(p),
                robust=p.robust,
            ),
            self._on_prepared,
        )

    def _on_prepared(self, result: Any) -> None:
        names = ", ".join(node.GetName() for node in result.volumes.values())
        text = f"Made {names}, its brain mask and its transform to the atlas."
        for warning in result.warnings:
            text += f"\nLook at this case: {warning}"
        self._panel.report(text, error=bool(result.warnings))

        show_volume(next(iter(result.volumes.values())))
