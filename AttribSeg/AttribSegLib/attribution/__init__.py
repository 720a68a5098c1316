"""Attributions: maps of which voxels argue for the score of an image.

One method per module, all with one signature: ``method(score, x, *, ...)`` with x of shape
(B, C, I, J[, K]) gives a map on the same grid, positive where a voxel argues for "pathological".
:func:`explain` calls them by name. "Local" maps are not multiplied by the input, "global" ones are
(thesis ch. 2, IV).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn

#: What a constraint can be put on: the family with a differentiable form.
LOSS_ATTRIBUTIONS = (
    "gradient",
    "integrated_gradients",
    "expected_gradients",
    "integrated_expected_gradients",
)
#: What needs images of the training set to start from.
NEEDS_REFERENCES = ("expected_gradients", "integrated_expected_gradients")
#: What needs nothing but the network and the image, so that a bundle can be read by it.
EXPLANATIONS = (
    "gradient",
    "input_times_gradient",
    "integrated_gradients",
    "smooth_grad",
    "grad_cam",
    "grad_cam_signed",
    "occlusion",
    "lrp_epsilon",
    "lrp_alpha_beta",
    "lime",
    "kernel_shap",
)
METHODS = (*EXPLANATIONS, *NEEDS_REFERENCES)


def require_available(method: str) -> None:
    """Refuse a method whose optional package is missing, before anything else is done.

    Raises
    ------
    InputError
        Says what to install.
    """
    from importlib.util import find_spec

    if method in ("lime", "kernel_shap") and find_spec("captum") is None:
        raise InputError(f"{method} needs the package captum; pip install attribseg[explain]")


def explain(
    method: str,
    network: nn.Module,
    x: torch.Tensor,
    *,
    references: torch.Tensor | None = None,
    local: bool = True,
    **options: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and maps by the name of a method.

    Parameters
    ----------
    method : str
        One of :data:`METHODS`. "grad_cam" is with the ReLU, "grad_cam_signed" without.
    network : Module
        Maps (B, C, I, J[, K]) to logits (B,).
    x : Tensor of shape (B, C, I, J[, K])
    references : Tensor of shape (R, C, I, J[, K]), optional
        Training images, for :data:`NEEDS_REFERENCES`.
    local : bool
        Integrated and expected gradients are not multiplied by x - x'.
    **options
        Of the method's own function.

    Returns
    -------
    logits : Tensor of shape (B,)
    maps : Tensor of shape (B, C, I, J[, K]) or (B, 1, I, J[, K])

    Raises
    ------
    InputError
        If the method is unknown, or references are missing.
    """
    import torch

    if method == "gradient":
        from .gradient import score_and_gradient

        return score_and_gradient(network, x, **options)
    with torch.no_grad():
        logits = network(x)
    return logits, _map(method, network, x, references, local, options)


def _map(
    method: str,
    network: nn.Module,
    x: torch.Tensor,
    references: torch.Tensor | None,
    local: bool,
    options: dict[str, Any],
) -> torch.Tensor:
    if method in NEEDS_REFERENCES:
        if references is None:
            raise InputError(f"{method} needs references: images of the training set")
        if method == "expected_gradients":
            from .expected_gradients import expected_gradients as function
        else:
            from .integrated_expected_gradients import integrated_expected_gradients as function
        return function(network, x, references=references, local=local, **options)
    if method == "integrated_gradients":
        from .integrated_gradients import integrated_gradients

        return integrated_gradients(network, x, local=local, **options)
    if method == "input_times_gradient":
        from .input_times_gradient import input_times_gradient

        return input_times_gradient(network, x, **options)
    if method == "smooth_grad":
        from .smooth_grad import smooth_grad

        return smooth_grad(network, x, **options)
    if method in ("grad_cam", "grad_cam_signed"):
        from .grad_cam import grad_cam

        return grad_cam(network, x, **{"relu": method == "grad_cam", "layer": None, **options})
    if method == "occlusion":
        from .occlusion import occlusion

        return occlusion(network, x, **options)
    if method in ("lrp_epsilon", "lrp_alpha_beta"):
        from .lrp import lrp

        return lrp(network, x, rule=method.removeprefix("lrp_").replace("_", "-"), **options)
    if method == "lime":
        from .lime import lime

        return lime(network, x, **options)
    if method == "kernel_shap":
        from .kernel_shap import kernel_shap

        return kernel_shap(network, x, **options)
    raise InputError(f"attribution {method!r}: one of {', '.join(METHODS)} was expected")
