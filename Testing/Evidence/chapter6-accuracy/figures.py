"""The figures of the study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import accuracy
import depth
import ladder
import numpy as np
from AttribSegLib.comparison.style import COLOURS, new_figure, plain_axes, save
from MonotoneNetLib.depth_figure import depth_figure
from networks import FORMS, INITS
from rows import chosen

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FORM_COLOURS = dict(zip(FORMS, ("#0072B2", "#009E73", "#D55E00"), strict=True))
_INIT_COLOURS = dict(zip(INITS, (COLOURS[1], COLOURS[0]), strict=True))
_DASHES = {"kaiming": (0, (4, 2)), "ours": "-"}
_GUESSING = 1 / 6


def draw_all(
    folder: Path, settings: dict[str, Any], found: dict[str, list[dict[str, Any]]]
) -> None:
    """Write every figure of the parts into a folder."""
    first_seed = settings["depth"]["seeds"][0]
    for layers in settings["depth"]["depths"]:
        draw_depth(folder / f"depth-{layers}.png", found["depth"], layers, first_seed)
    short = settings["ladder"]
    draw_losses(folder / "losses.png", found["ladder"], short)
    draw_rates(folder / "rates.png", found["ladder"], short)
    draw_norms(folder / "norms.png", found["ladder"], short)
    draw_training(folder / "training.png", found["accuracy"], settings["accuracy"])


def draw_depth(path: Path, measured: Sequence[dict[str, Any]], layers: int, seed: int) -> None:
    """Figures 6.3 and 6.6: features, correlations and gradients through one ResNet."""
    reports = {}
    for result in measured:
        task = result["task"]
        if task["depth"] == layers and task["seed"] == seed:
            name = f"{FORMS[task['form']]}; {INITS[task['init']]}"
            reports[name] = depth.report_of(result)
    save(depth_figure(reports), path)


def draw_losses(path: Path, steps: list[dict[str, Any]], settings: dict[str, Any]) -> None:
    """Figure 6.5: training loss by step, each at its best learning rate."""
    figure = new_figure(10.5, 8.0)
    panels = figure.subplots(len(FORMS), len(settings["depths"]), sharex=True, sharey=True)
    for row, form in zip(panels, FORMS, strict=True):
        for axis, layers in zip(row, settings["depths"], strict=True):
            for init in INITS:
                for optimiser, dash in zip(settings["rates"], ((0, (4, 2)), "-"), strict=True):
                    run = ladder.best(
                        steps, form=form, depth=layers, init=init, optimiser=optimiser
                    )
                    label = f"{INITS[init]}, {optimiser}"
                    _loss_line(axis, run["losses"], 5, _INIT_COLOURS[init], dash, label)
            axis.set_title(f"{FORMS[form]}, ResNet-{layers}", fontsize=10.5)
            plain_axes(axis)
            axis.axhline(np.log(6), color="0.6", linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
            axis.set_ylim(0, 4)
    for axis in panels[-1]:
        axis.set_xlabel("Step")
    for axis in panels[:, 0]:
        axis.set_ylabel("Training loss")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4,
                  frameon=False, handlelength=3.2)  # fmt: skip
    save(figure, path)


def draw_rates(path: Path, steps: list[dict[str, Any]], settings: dict[str, Any]) -> None:
    """Figures 6.7 and 6.8: accuracy after training by optimiser and learning rate."""
    figure = new_figure(12.0, 6.2)
    panels = figure.subplots(len(settings["rates"]), len(settings["depths"]), sharey=True)
    names = [f"{FORMS[form]}; {INITS[init]}" for form in FORMS for init in INITS]
    for row, (optimiser, rates) in zip(panels, settings["rates"].items(), strict=True):
        for axis, layers in zip(row, settings["depths"], strict=True):
            wanted = {"depth": layers, "optimiser": optimiser}
            for y, (form, init) in enumerate((f, i) for f in FORMS for i in INITS):
                for x, rate in enumerate(rates):
                    found = chosen(steps, form=form, init=init, rate=rate, **wanted)
                    _cell(axis, x, y, found[0])
            axis.set(xlim=(-0.5, len(rates) - 0.5), ylim=(len(names) - 0.5, -0.5))
            axis.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
            axis.set_yticks(range(len(names)), names)
            axis.tick_params(length=0)
            axis.spines[:].set_visible(False)
            axis.set_title(f"{optimiser}, ResNet-{layers}", fontsize=11)
    for axis in panels[-1]:
        axis.set_xlabel("Learning rate")
    save(figure, path)


def draw_norms(path: Path, steps: list[dict[str, Any]], settings: dict[str, Any]) -> None:
    """Figures 6.9 and 6.10: the best accuracy of all learning rates by depth and norm."""
    figure = new_figure(10.5, 4.4)
    panels = figure.subplots(1, len(settings["rates"]), sharey=True)
    for axis, optimiser in zip(panels, settings["rates"], strict=True):
        for form in FORMS:
            for init in INITS:
                runs = [
                    ladder.best(steps, form=form, init=init, depth=layers, optimiser=optimiser)
                    for layers in settings["depths"]
                ]
                axis.plot(
                    range(len(runs)),
                    [run["accuracy"] or np.nan for run in runs],
                    color=_FORM_COLOURS[form],
                    linestyle=_DASHES[init],
                    marker="o",
                    markersize=5,
                    markerfacecolor="white" if init == "kaiming" else _FORM_COLOURS[form],
                    label=f"{FORMS[form]}; {INITS[init]}",
                )
        axis.axhline(_GUESSING, color="0.6", linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
        axis.set_xticks(range(len(settings["depths"])), [f"ResNet-{d}" for d in settings["depths"]])
        axis.set(title=optimiser, xlim=(-0.3, len(settings["depths"]) - 0.7), ylim=(0, 1.02))
        plain_axes(axis)
    panels[0].set_ylabel("Best accuracy over learning rates")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3,
                  frameon=False, handlelength=3.2)  # fmt: skip
    save(figure, path)


def draw_training(path: Path, trained: list[dict[str, Any]], settings: dict[str, Any]) -> None:
    """Loss and accuracy on the inner part while the networks of the table were trained."""
    figure = new_figure(10.5, 4.2)
    left, right = figure.subplots(1, 2)
    for form, init, epochs in accuracy.table_rows(settings):
        for number, run in enumerate(chosen(trained, form=form, init=init, epochs=epochs)):
            first = number == 0 and epochs == settings["epochs"][form][0]
            label = accuracy.name_of(form, init) if first else None
            _loss_line(left, run["losses"], 25, _FORM_COLOURS[form], _DASHES[init], label)
            right.plot(
                [look["step"] for look in run["looks"]],
                [look["accuracy"] for look in run["looks"]],
                color=_FORM_COLOURS[form],
                linestyle=_DASHES[init],
                linewidth=1.3,
                marker="o",
                markersize=3,
            )
    left.set(title="Training loss, mean over 25 steps", xlabel="Step", ylim=(0, 2.5))
    right.set(title="Accuracy on the inner validation part", xlabel="Step", ylim=(0, 1.02))
    for axis in (left, right):
        plain_axes(axis)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4,
                  frameon=False, handlelength=3.2)  # fmt: skip
    save(figure, path)


def _loss_line(
    axis: Axes, losses: list[float | None], window: int, colour: str, dash: Any, label: str | None
) -> None:
    """A loss as mean over some steps, from what was finite; a cross where it ceased to be."""
    finite = np.array([loss for loss in losses if loss is not None])
    mean = np.convolve(finite, np.ones(window) / window, mode="valid")
    at = np.arange(len(mean)) + window / 2
    axis.plot(at, mean, color=colour, linestyle=dash, linewidth=1.5, label=label)
    if len(finite) < len(losses) and len(mean):
        axis.plot(at[-1], min(mean[-1], axis.get_ylim()[1]), "x", color=colour, clip_on=False)


def _cell(axis: Axes, x: int, y: int, run: dict[str, Any]) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    if run["outcome"] == "diverged":
        style: dict[str, Any] = {"facecolor": "0.93", "hatch": "////", "edgecolor": "0.65"}
        text, colour = "div.", "0.1"
    else:
        value = run["accuracy"]
        style = {"facecolor": colormaps["Blues"](0.05 + 0.9 * value), "edgecolor": "white"}
        text, colour = f"{value:.2f}", "white" if value > 0.6 else "0.1"
    axis.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, linewidth=0.8, **style))
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0} if text == "div." else None
    axis.text(x, y, text, ha="center", va="center", fontsize=8.5, color=colour, bbox=box)
