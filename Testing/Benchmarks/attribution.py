"""Attributions against other libraries: integrated gradients and Captum, occlusion and MONAI.

Integrated gradients read the demonstration bundle (PatchGAN 3D 16-32-64-128, trained on simulated
brains) on a simulated pathological brain of 91 x 109 x 91, from the zero reference: ours to
a completeness gap of 1 %, Captum's with its default 50 steps. Occlusion: the same architecture
without norm, patch 8, stride 8, constant 0.
"""

from __future__ import annotations

import subprocess
import sys
import time
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from AttribSegLib.attribution.integrated_gradients import integrated_gradients_with_report
from AttribSegLib.attribution.occlusion import occlusion
from AttribSegLib.bundle import load_bundle
from AttribSegLib.cases import prepare_channels
from AttribSegLib.networks.patchgan import PatchGAN
from AttribSegLib.simulation.subject import simulate_subject
from captum.attr import IntegratedGradients
from timing import alternate, median_seconds, peak_mb, resident_mb

_BUNDLE = Path(__file__).resolve().parents[2] / "Resources" / "DemoBundle"
_STEPS, _AT_ONCE = 50, 5
#: Images that MONAI evaluates at once; the best of these is compared.
_MONAI_BATCHES = (1, 4, 16)


@cache
def _problem() -> tuple[torch.nn.Module, torch.Tensor]:
    bundle = load_bundle(_BUNDLE)
    subject = simulate_subject(
        1,
        seed=np.random.SeedSequence(1, spawn_key=(1, 0)),
        modality="FLAIR",
        spacing=2,
        lesions="tumour",
        lesion_shapes=(),
        scanner_signature=0.0,
    )
    recipe = bundle.recipe
    array, _, _ = prepare_channels(
        {"FLAIR": subject.image}, None, background=recipe.background, clip=recipe.clip
    )
    return bundle.network.eval().requires_grad_(False), torch.from_numpy(array)[None]


def _ours() -> None:
    network, x = _problem()
    integrated_gradients_with_report(network, x)


def _ours_at_their_nodes() -> None:
    network, x = _problem()
    integrated_gradients_with_report(network, x, steps=_STEPS)


def _captum() -> None:
    network, x = _problem()
    IntegratedGradients(network).attribute(x, 0, n_steps=_STEPS, internal_batch_size=_AT_ONCE)


def _captum_with_defaults() -> None:
    network, x = _problem()
    IntegratedGradients(network).attribute(x, 0)


def _peak_of(name: str) -> float:
    """Memory of one of the above over the process before it, in a process of its own."""
    command = [sys.executable, __file__, name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    return float(done.stdout.strip().splitlines()[-1])


def _occlusion_speed_up() -> dict[str, float]:
    from monai.visualize import OcclusionSensitivity

    torch.manual_seed(0)
    network = PatchGAN(dimensions=3, width=0.25, norm="none").eval().requires_grad_(False)
    _, x = _problem()

    class _Column(torch.nn.Module):
        """MONAI expects (B, 1)."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return network(x)[:, None]

    def theirs(batch: int, box: tuple[int, ...] | None = None) -> torch.Tensor:
        sensitivity = OcclusionSensitivity(
            _Column(), mask_size=8, n_batch=batch, overlap=0.0, mode=0.0, activate=False
        )
        return sensitivity(x, box)[0]

    def ours() -> torch.Tensor:
        return occlusion(network, x, patch=8, stride=8, value=0.0)

    # A part of the image tells which batch is best; the whole one takes minutes.
    seconds = {
        batch: median_seconds(partial(theirs, batch, (0, 31) * 3), repetitions=1)
        for batch in _MONAI_BATCHES
    }
    start = time.perf_counter()
    reference = theirs(min(seconds, key=seconds.__getitem__))
    whole = time.perf_counter() - start
    own = median_seconds(ours)
    # MONAI gives the score that is left; ours, what was lost.
    left = network(x) - ours()
    # MONAI moves the last patch of each axis inwards, ours is cut off at the border: compare what
    # neither touches.
    window = tuple(slice(0, (n - 8) // 8 * 8) for n in x.shape[2:])
    reference = reference[(slice(None), slice(None), *window)]
    difference = (left[(slice(None), slice(None), *window)] - reference).abs().max()
    scale = ours().abs().max()
    return {
        "occlusion_speedup_over_monai": whole / own,
        "occlusion_s": own,
        "occlusion_difference": float(difference / scale),
    }


def measure() -> dict[str, float]:
    """Ratios, and what stands behind them."""
    network, x = _problem()
    report = integrated_gradients_with_report(network, x)[1]
    own, theirs = alternate(_ours, _captum)
    fixed, _ = alternate(_ours_at_their_nodes, _captum)
    theirs_mb, own_mb = _peak_of("captum_with_defaults"), _peak_of("ours")
    return {
        "ig_time_over_captum": own / theirs,
        "ig_equal_nodes_over_captum": fixed / theirs,
        "ig_gap": report.gap[0],
        "ig_evaluations": float(report.evaluations[0]),
        "captum_gap": integrated_gradients_with_report(network, x, steps=_STEPS)[1].gap[0],
        "ig_memory_over_captum": own_mb / theirs_mb,
        "ig_mb": own_mb,
        **_occlusion_speed_up(),
    }


if __name__ == "__main__":
    _problem()
    before = resident_mb()
    {"ours": _ours, "captum_with_defaults": _captum_with_defaults}[sys.argv[1]]()
    print(peak_mb() - before)
