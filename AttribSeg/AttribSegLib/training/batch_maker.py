"""Batches of images, augmented, with their masks and references."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..cases import PreparedCase
from ..errors import InputError
from ..recipes import Batch, Recipe
from .augmentation import Augmentation
from .batches import BalancedBatches
from .distributed import Process


def case_tensor(case: PreparedCase, dimensions: int) -> torch.Tensor:
    """Channels of a case as a tensor of shape (C, I, J[, K])."""
    array = case.array[..., 0] if dimensions == 2 else case.array
    return torch.from_numpy(np.ascontiguousarray(array))


def mask_tensor(case: PreparedCase, dimensions: int) -> torch.Tensor:
    """Brain and lesions of a case as a tensor of shape (2, I, J[, K]), bool."""
    lesions = np.zeros_like(case.brain) if case.lesions is None else case.lesions
    both = np.stack([case.brain, lesions])
    return torch.from_numpy(both[..., 0] if dimensions == 2 else both)


class BatchMaker:
    """Makes the batches of a recipe; the same ones whenever, and by however many, they are made.

    Parameters
    ----------
    recipe : Recipe
    training : sequence of PreparedCase
        On one grid.
    seed : int
    process : Process
        This process among its peers.

    Raises
    ------
    InputError
        If the recipe learns from lesion masks and there are none.
    """

    def __init__(
        self,
        recipe: Recipe,
        training: Sequence[PreparedCase],
        *,
        seed: int,
        process: Process,
    ) -> None:
        self.recipe, self.training = recipe, training
        self.seed, self.process = seed, process
        geometry = training[0].geometry
        self.dimensions = 3 if training[0].case.slice is None else 2
        self.augmentation = Augmentation(
            recipe.augmentation,
            geometry.size[: self.dimensions],
            flip_axis=geometry.axis_towards("L"),
            background=recipe.background,
        )
        #: Pathological cases whose lesion masks are used.
        self.masked = _with_usable_masks(training, recipe.masked_patients, seed)
        self.batches = BalancedBatches(
            [case.case.label for case in training],
            recipe.batch_size,
            seed=seed,
            rank=process.rank,
            world=process.world,
            preferred=self.masked,
            share=recipe.least_masked,
        )

    def __call__(self, epoch: int, step: int, plan: tuple[list[int], list[int]]) -> Batch:
        """The batch of a step.

        Parameters
        ----------
        epoch, step : int
            Counted from 1 and from 0.
        plan : (list of int, list of int)
            Healthy and pathological cases, as :class:`.BalancedBatches` yields them.
        """
        images: list[list[torch.Tensor]] = [[], []]
        masks: list[list[torch.Tensor]] = [[], []]
        for label, indices in enumerate(plan):
            for place, index in enumerate(indices):
                case = self.training[index]
                # The place in the whole batch names the draw, whatever rank makes it.
                position = place * self.process.world + self.process.rank
                image, mask = self.augmentation(
                    case_tensor(case, self.dimensions),
                    mask_tensor(case, self.dimensions),
                    seed=(self.seed, epoch, step, label, position),
                )
                images[label].append(image)
                masks[label].append(mask)
        healthy, pathological = (torch.stack(half) for half in masks)
        usable = torch.tensor([index in self.masked for index in plan[1]])
        number = (epoch - 1) * self.batches.steps + step
        draw = (self.seed, epoch, step, 2, self.process.rank)
        return Batch(
            healthy=torch.stack(images[0]),
            pathological=torch.stack(images[1]),
            healthy_brain=healthy[:, :1],
            pathological_brain=pathological[:, :1],
            lesions=pathological[:, 1:] & usable.reshape(-1, *(1,) * (pathological.ndim - 1)),
            has_mask=usable,
            references=self._references(len(plan[0]) + len(plan[1]), draw),
            step=number,
            progress=number / (self.recipe.epochs * self.batches.steps),
            seed=int(np.random.SeedSequence(draw).generate_state(1)[0]),
        )

    def _references(self, count: int, draw: tuple[int, ...]) -> torch.Tensor | None:
        """Training images drawn at random, as they are."""
        if not self.recipe.needs_references:
            return None
        chosen = np.random.default_rng([*draw, 1]).integers(len(self.training), size=count)
        return torch.stack([case_tensor(self.training[i], self.dimensions) for i in chosen])


def _with_usable_masks(
    training: Sequence[PreparedCase], patients: int | None, seed: int
) -> frozenset[int]:
    """Indices of the pathological cases whose lesion masks are used, of so many patients."""
    if patients == 0:
        return frozenset()
    drawn = [i for i, c in enumerate(training) if c.case.label == 1 and c.lesions is not None]
    if not drawn:
        raise InputError(
            "the recipe learns from lesion masks, but no pathological training case has one; fill "
            "the column lesions for some of them, or use the constraint unsup"
        )
    if patients is not None:
        names = sorted({training[index].case.patient for index in drawn})
        order = np.random.default_rng([seed, 3]).permutation(len(names))[:patients]
        chosen = {names[place] for place in order}
        drawn = [index for index in drawn if training[index].case.patient in chosen]
    return frozenset(drawn)
