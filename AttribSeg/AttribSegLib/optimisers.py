"""Optimisers by name: PyTorch's, and Yogi with AMSGrad and a robust momentum."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from .errors import InputError

OPTIMISERS = ("adam", "adamw", "adadelta", "sgd", "yogi")


class Yogi(torch.optim.Optimizer):
    r"""Yogi: Adam whose second moment moves by a bounded amount (Zaheer et al. 2018).

    .. math:: v_t = v_{t-1} - (1 - \beta_2) \operatorname{sign}(v_{t-1} - g_t^2) g_t^2

    With AMSGrad (Reddi et al. 2018) the largest second moment so far divides the step. With
    a robust momentum (Ilboudo et al. 2020) the first moment is that of a Student-t distribution:
    a gradient far from the momentum, in units of the second moment, is given little weight. The
    thesis trains its constrained classifiers with all three, at a learning rate of 1 (ch. 5).

    Parameters
    ----------
    parameters : iterable
    lr : float
    betas : tuple of float
        Decays of the first and the second moment.
    eps : float
        Added to the root of the second moment.
    weight_decay : float
        Added to the gradient, times the weight.
    initial : float
        Second moment at the start.
    amsgrad : bool
    robust : bool
        Student-t momentum.

    Raises
    ------
    InputError
        If a parameter is out of range.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        *,
        lr: float = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-3,
        weight_decay: float = 0.0,
        initial: float = 1e-6,
        amsgrad: bool = True,
        robust: bool = False,
    ) -> None:
        for name, value in (("lr", lr), ("eps", eps), ("initial", initial)):
            if not value > 0:
                raise InputError(f"Yogi: {name} {value}: a positive number was expected")
        if weight_decay < 0:
            raise InputError(f"Yogi: weight_decay {weight_decay}: at least 0 was expected")
        # The robust momentum's own decay is (2 beta_1 - 1) / beta_1, which must not be negative.
        least = 0.5 if robust else 0.0
        if not (least <= betas[0] < 1 and 0 <= betas[1] < 1):
            raise InputError(f"Yogi: betas {tuple(betas)}: {least} to below 1, and 0 to below 1")
        defaults = {
            "lr": lr,
            "betas": tuple(betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "initial": initial,
            "amsgrad": amsgrad,
            "robust": robust,
        }
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None  # the caller has looked
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        beta1, beta2 = group["betas"]
        if not state:
            state["step"] = torch.zeros(())
            state["first"] = torch.zeros_like(parameter)
            state["second"] = torch.full_like(parameter, group["initial"])
            if group["amsgrad"]:
                state["largest"] = state["second"].clone()
            if group["robust"]:
                # Of the parameter's type, to which a restored state is cast.
                state["weight"] = torch.full((), beta1 / (1 - beta1), dtype=parameter.dtype)
        state["step"] += 1
        number = float(state["step"])
        first, second = state["first"], state["second"]
        if group["robust"]:
            decay = self._robust_decay(gradient, state, beta1, group["eps"])
        else:
            decay = beta1
        first.lerp_(gradient, 1 - decay)
        squared = gradient * gradient
        second.addcmul_(torch.sign(second - squared), squared, value=-(1 - beta2))
        divisor = second
        if group["amsgrad"]:
            divisor = torch.maximum(state["largest"], second, out=state["largest"])
        root = (divisor / (1 - beta2**number)).sqrt_().add_(group["eps"])
        parameter.addcdiv_(first, root, value=-group["lr"] / (1 - beta1**number))

    @staticmethod
    def _robust_decay(
        gradient: torch.Tensor, state: dict[str, Any], beta1: float, eps: float
    ) -> float:
        """Decay of the first moment for this gradient: near one for an outlier."""
        freedom = gradient.numel()
        distance = float(((gradient - state["first"]) ** 2 / (state["second"] + eps)).sum())
        weight = 2 * freedom / (freedom + distance)  # nu = d, hence nu + d on top
        whole = float(state["weight"])
        decay = whole / (whole + weight)
        state["weight"].fill_(whole * (2 * beta1 - 1) / beta1 + weight)
        return decay


def make_optimiser(
    name: str,
    parameters: Iterable[torch.Tensor],
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    options: Mapping[str, Any] | None = None,
) -> torch.optim.Optimizer:
    """An optimiser by name.

    Parameters
    ----------
    name : {"adam", "adamw", "adadelta", "sgd", "yogi"}
    parameters : iterable of Tensor
    learning_rate, weight_decay : float
    options : mapping, optional
        More of its own parameters, such as ``betas``, ``momentum``, ``amsgrad`` or ``robust``.

    Raises
    ------
    InputError
        If the name or an option is unknown.
    """
    kinds: dict[str, Any] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "adadelta": torch.optim.Adadelta,
        "sgd": torch.optim.SGD,
        "yogi": Yogi,
    }
    if name not in kinds:
        raise InputError(f"optimiser {name!r}: one of {', '.join(OPTIMISERS)} was expected")
    try:
        return kinds[name](
            parameters, lr=learning_rate, weight_decay=weight_decay, **dict(options or {})
        )
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"optimiser {name}: its options do not fit ({error})") from error
