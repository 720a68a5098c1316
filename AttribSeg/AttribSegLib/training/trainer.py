"""The training loop: any recipe, resumable, cancellable, on one process or many."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..cases import PreparedCase
from ..errors import Cancelled, DivergedError, InputError
from ..files import make_folder
from ..metrics.image import auroc, class_weighted_accuracy, true_negative_rate, true_positive_rate
from ..networks.twice import weight_gradients_only
from ..optimisers import make_optimiser
from ..recipes import Batch, Recipe
from .batch_maker import BatchMaker, case_tensor, mask_tensor
from .checkpoint import (
    load_tensors,
    load_weights,
    optimiser_tensors,
    restore_optimiser,
    save_tensors,
)
from .distributed import Process

Event = dict[str, Any]
OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class TrainingResult:
    """The network with the best weights, and how it came about."""

    network: nn.Module
    history: list[Event]
    best_epoch: int


class Trainer:
    """Trains the network of a recipe.

    Parameters
    ----------
    recipe : Recipe
    training, validation : sequence of PreparedCase
        On one grid.
    folder : Path
        Where checkpoints go (``last.safetensors``, ``best.safetensors``).
    seed : int
    device : device
    process : Process
        This process among its peers.
    on_event : callable, optional
        Receives dictionaries: ``step`` and ``epoch`` events; first, of a resumed run, ``history``
        with what the epochs before said.
    should_stop : callable, optional
        Asked after every step; when true the run stops and can be resumed.
    """

    def __init__(
        self,
        recipe: Recipe,
        training: Sequence[PreparedCase],
        validation: Sequence[PreparedCase],
        *,
        folder: Path,
        seed: int = 0,
        device: torch.device | None = None,
        process: Process | None = None,
        on_event: OnEvent | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        if len({case.case.label for case in validation}) < 2:
            raise InputError(
                "the validation split needs healthy and pathological cases to choose the epoch"
            )
        self.recipe, self.training, self.validation = recipe, training, validation
        self.folder, self.seed = folder, seed
        self.device = device or torch.device("cpu")
        self.process = process or Process()
        self.on_event = on_event if on_event and self.process.leads else lambda event: None
        self.should_stop = should_stop or (lambda: False)
        first = training[0]
        self.dimensions = 3 if first.case.slice is None else 2
        self.make_batch = BatchMaker(recipe, training, seed=seed, process=self.process)
        self.batches = self.make_batch.batches
        torch.manual_seed(seed)
        self.network = recipe.build(
            in_channels=first.array.shape[0],
            dimensions=self.dimensions,
            size=first.geometry.size[: self.dimensions],
        ).to(self.device)
        self.averaged = {name: t.clone() for name, t in self.network.state_dict().items()}
        self.optimiser = make_optimiser(
            recipe.optimiser,
            self.network.parameters(),
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            options=recipe.optimiser_options,
        )
        self.history: list[Event] = []
        self.best_epoch = 0

    def run(self, *, resume: bool = False) -> TrainingResult:
        """Train, from the start or from the last checkpoint.

        Raises
        ------
        Cancelled
            When asked to stop; everything up to the last whole epoch is saved.
        InputError
            If the checkpoint to resume from is of another recipe, seed or cohort, or the loss is
            not finite.
        """
        make_folder(self.folder)
        if resume and (self.folder / "last.safetensors").exists():
            self._restore()
            self.on_event({"event": "history", "epochs": list(self.history)})
        started = time.perf_counter()
        spent = self.history[-1]["seconds"] if self.history else 0.0
        first_epoch = len(self.history) + 1
        for epoch in range(first_epoch, self.recipe.epochs + 1):
            if self._waited_enough() or self._out_of_time():
                break
            self._set_learning_rate(epoch)
            record = self._train_epoch(epoch)
            record.update(self._validate())
            record["seconds"] = round(spent + time.perf_counter() - started, 3)
            remaining = self.recipe.epochs - epoch
            per_epoch = (time.perf_counter() - started) / (epoch - first_epoch + 1)
            self.history.append(record)
            if self._is_best():
                self.best_epoch = epoch
            self._save()
            self.on_event(
                {
                    "event": "epoch",
                    **record,
                    "epochs": self.recipe.epochs,
                    "best_epoch": self.best_epoch,
                    "seconds_left": round(remaining * per_epoch, 1),
                }
            )
        self.process.wait()
        tensors, _ = load_tensors(self.folder / "best.safetensors")
        load_weights(self.network, tensors, source=self.folder / "best.safetensors")
        scores, labels = self.validation_scores()
        self.recipe.calibrate(self.network, scores.tolist(), labels.tolist())
        return TrainingResult(self.network.eval(), self.history, self.best_epoch)

    def _train_epoch(self, epoch: int) -> Event:
        self.network.train()
        seen: dict[str, list[float]] = {}
        started = time.perf_counter()
        with ThreadPoolExecutor(1) as pool:  # the next batch is made while this one is used
            plan = list(self.batches.epoch(epoch))
            pending = pool.submit(self.make_batch, epoch, 0, plan[0])
            for step in range(len(plan)):
                batch = pending.result()
                if step + 1 < len(plan):
                    pending = pool.submit(self.make_batch, epoch, step + 1, plan[step + 1])
                terms = self._step(batch)
                for name, value in terms.items():
                    seen.setdefault(name, []).append(value)
                if self.process.agree(self.should_stop()):
                    raise Cancelled(
                        f"{len(self.history)} whole epochs are saved; resume with --resume"
                    )
                elapsed = time.perf_counter() - started
                self.on_event(
                    {
                        "event": "step",
                        "epoch": epoch,
                        "epochs": self.recipe.epochs,
                        "step": step + 1,
                        "steps": len(plan),
                        "seconds_per_step": elapsed / (step + 1),
                        **terms,
                    }
                )
        names = sorted(seen)
        means = self.process.average([float(np.mean(seen[name])) for name in names])
        return {
            "epoch": epoch,
            **{f"train_{name}": value for name, value in zip(names, means, strict=True)},
        }

    def _step(self, batch: Batch) -> dict[str, float]:
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.recipe.batch_loss(
            self.network, batch.to(self.device), mixed_precision=self.device.type == "cuda"
        )
        if not math.isfinite(loss.terms["loss"]):
            parts = ", ".join(f"{n} {v:.3g}" for n, v in loss.terms.items() if n != "loss")
            raise DivergedError(
                f"the loss became {loss.terms['loss']} ({parts}); use a smaller alpha or learning "
                "rate"
            )
        with weight_gradients_only():
            loss.total.backward()
        self.process.average_gradients(self.network.parameters())
        self.optimiser.step()
        self._average_weights()
        return loss.terms

    def _average_weights(self) -> None:
        decay = self.recipe.average
        done = self.batches.steps * len(self.history)
        # A young average forgets its random start faster (as in Kingma and Ba's correction).
        decay = min(decay, (1 + done) / (10 + done)) if decay else 0.0
        with torch.no_grad():
            for name, tensor in self.network.state_dict().items():
                if tensor.is_floating_point():
                    self.averaged[name].lerp_(tensor, 1.0 - decay)
                else:
                    self.averaged[name].copy_(tensor)

    def _validate(self) -> Event:
        """Validation cases under the weights that would be kept."""
        training_weights = {name: t.clone() for name, t in self.network.state_dict().items()}
        self.network.load_state_dict(self.averaged)
        scores, labels = self.validation_scores()
        self.network.load_state_dict(training_weights)
        record = {"validation_auroc": auroc(labels, scores)}
        if self.recipe.selection == "reconstruction":
            return {"validation_loss": float(scores[labels == 0].mean()), **record}
        signed = np.where(labels == 1, -scores, scores)
        return {
            "validation_loss": float(np.logaddexp(0.0, signed).mean()),
            "validation_accuracy": class_weighted_accuracy(labels, scores > 0),
            "validation_tpr": true_positive_rate(labels, scores > 0),
            "validation_tnr": true_negative_rate(labels, scores > 0),
            **record,
        }

    @torch.no_grad()
    def validation_scores(self) -> tuple[np.ndarray, np.ndarray]:
        """The network's scores of all validation cases, and their labels."""
        self.network.eval()
        size = max(1, self.recipe.batch_size // 2)
        scores: list[float] = []
        for start in range(0, len(self.validation), size):
            chunk = self.validation[start : start + size]
            x = torch.stack([case_tensor(case, self.dimensions) for case in chunk])
            scores.extend(self.network(x.to(self.device)).double().cpu().tolist())
        return np.array(scores), np.array([case.case.label for case in self.validation])

    def _quality(self, record: Event) -> tuple[float, ...]:
        """What "the best validation" means: accuracy, then AUROC; or the reconstruction."""
        if self.recipe.selection == "reconstruction":
            return (-record["validation_loss"],)
        return (record["validation_accuracy"], record["validation_auroc"])

    def _is_best(self) -> bool:
        """A tie goes to the later epoch: the constraint had longer to act."""
        if len(self.history) < self.recipe.first_epoch:
            return False
        if self.best_epoch == 0:
            return True
        return self._quality(self.history[-1]) >= self._quality(self.history[self.best_epoch - 1])

    def _waited_enough(self) -> bool:
        patience = self.recipe.patience
        waited = len(self.history) - self.best_epoch
        return bool(patience and self.best_epoch) and waited >= patience

    def _out_of_time(self) -> bool:
        """Whether the time is up and there are weights to keep."""
        limit = 60 * self.recipe.minutes
        up = bool(limit and self.best_epoch) and self.history[-1]["seconds"] >= limit
        return self.process.agree(up)

    def _set_learning_rate(self, epoch: int) -> None:
        rate = self.recipe.learning_rate
        if self.recipe.schedule == "cosine":
            rate *= 0.5 * (1.0 + math.cos(math.pi * (epoch - 1) / self.recipe.epochs))
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def _fingerprint(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe.to_dict(),
            "seed": self.seed,
            "cases": [case.case.case for case in self.training],
            "validation": [case.case.case for case in self.validation],
            # A mask that was corrected in between is another training.
            "masked": [
                [case.case.case, int(mask_tensor(case, 3)[1].sum())]
                for case in (self.training[index] for index in sorted(self.make_batch.masked))
            ],
        }

    def _save(self) -> None:
        if not self.process.leads:
            return
        if self.best_epoch == len(self.history):
            save_tensors(self.folder / "best.safetensors", self.averaged, {})
        tensors, optimiser = optimiser_tensors(self.optimiser)
        tensors |= {f"network.{name}": t for name, t in self.network.state_dict().items()}
        tensors |= {f"averaged.{name}": t for name, t in self.averaged.items()}
        meta = {
            "fingerprint": self._fingerprint(),
            "optimiser": optimiser,
            "history": self.history,
            "best_epoch": self.best_epoch,
        }
        save_tensors(self.folder / "last.safetensors", tensors, meta)

    def _restore(self) -> None:
        path = self.folder / "last.safetensors"
        tensors, meta = load_tensors(path)
        if meta.get("fingerprint") != json.loads(json.dumps(self._fingerprint())):
            raise InputError(
                f"{path}: was made with another recipe, seed or cohort; resume with the same ones "
                "or train into a new folder"
            )

        def part(prefix: str) -> dict[str, torch.Tensor]:
            found = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
            return {name: tensor.to(self.device) for name, tensor in found.items()}

        load_weights(self.network, part("network."), source=path)
        self.averaged = part("averaged.")
        restore_optimiser(self.optimiser, tensors, meta["optimiser"])
        self.history, self.best_epoch = meta["history"], meta["best_epoch"]
