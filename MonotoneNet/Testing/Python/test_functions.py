"""Every function that is admitted is tried out: it does what its rule says."""

import pytest
import torch
from MonotoneNetLib.certificate import certify
from MonotoneNetLib.conversion.functions import RULES
from MonotoneNetLib.numerical_check import check_monotone
from torch import nn
from torch.nn import functional as F


def first(pair):
    values, _ = pair
    return values


#: Calls on x of shape (2, 4, 6, 6), by the name of the rule.
CALLS = {
    "flatten": [lambda x: x.flatten(1), lambda x: torch.flatten(x, 2)],
    "unflatten": [lambda x: x.unflatten(1, (2, 2))],
    "reshape": [lambda x: x.reshape(x.shape[0], -1), lambda x: torch.reshape(x, (2, -1))],
    "view": [lambda x: x.view(x.size(0), -1)],
    "squeeze": [lambda x: x[:, :1].squeeze(1)],
    "unsqueeze": [lambda x: x.unsqueeze(1), lambda x: torch.unsqueeze(x, 0)],
    "permute": [lambda x: x.permute(0, 2, 3, 1)],
    "transpose": [lambda x: x.transpose(1, 2)],
    "swapaxes": [lambda x: x.swapaxes(1, 2)],
    "swapdims": [lambda x: x.swapdims(1, 2)],
    "movedim": [lambda x: x.movedim(1, 2)],
    "moveaxis": [lambda x: x.moveaxis(1, 2)],
    "t": [lambda x: x[0, 0].t()],
    "contiguous": [lambda x: x.contiguous()],
    "clone": [lambda x: x.clone()],
    "expand": [lambda x: x[:, :1].expand(-1, 3, -1, -1)],
    "repeat": [lambda x: x.repeat(1, 2, 1, 1)],
    "tile": [lambda x: x.tile(2)],
    "repeat_interleave": [lambda x: x.repeat_interleave(2, dim=1)],
    "narrow": [lambda x: x.narrow(1, 0, 2)],
    "select": [lambda x: x.select(1, 0)],
    "chunk": [lambda x: x.chunk(2, 1)[1]],
    "split": [lambda x: x.split(2, dim=1)[0]],
    "tensor_split": [lambda x: x.tensor_split(3, dim=1)[2]],
    "unbind": [lambda x: x.unbind(1)[3]],
    "flip": [lambda x: x.flip(2)],
    "roll": [lambda x: x.roll(1, 2)],
    "rot90": [lambda x: x.rot90(1, (2, 3))],
    "unfold": [lambda x: F.unfold(x, 3), lambda x: x.unfold(2, 3, 1)],
    "fold": [lambda x: F.fold(F.unfold(x, 3), (6, 6), 3)],
    "pixel_shuffle": [lambda x: F.pixel_shuffle(x, 2)],
    "pixel_unshuffle": [lambda x: F.pixel_unshuffle(x, 2)],
    "channel_shuffle": [lambda x: F.channel_shuffle(x, 2)],
    "float": [lambda x: x.float().double()],
    "double": [lambda x: x.double()],
    "half": [lambda x: x.half().double()],
    "bfloat16": [lambda x: x.bfloat16().double()],
    "to": [lambda x: x.to(torch.float64), lambda x: x.to(x.device), lambda x: x.mean(1).to(x)],
    "mean": [lambda x: x.mean((2, 3)), lambda x: torch.mean(x, dim=1)],
    "sum": [lambda x: x.sum(1, keepdim=True), lambda x: sum([x, 2 * x])],
    "amax": [lambda x: x.amax((2, 3))],
    "amin": [lambda x: x.amin(1)],
    "cumsum": [lambda x: x.cumsum(2)],
    "dropout": [lambda x: F.dropout(x, 0.5, False)],
    "dropout1d": [lambda x: F.dropout1d(x[0], 0.5, False)],
    "dropout2d": [lambda x: F.dropout2d(x, 0.5, False)],
    "dropout3d": [lambda x: F.dropout3d(x, 0.5, False)],
    "max_pool1d": [lambda x: F.max_pool1d(x[:, 0], 2)],
    "max_pool2d": [lambda x: F.max_pool2d(x, 3, 2, padding=1, ceil_mode=True)],
    "max_pool3d": [lambda x: F.max_pool3d(x, 2)],
    "adaptive_max_pool1d": [lambda x: F.adaptive_max_pool1d(x[:, 0], 2)],
    "adaptive_max_pool2d": [lambda x: F.adaptive_max_pool2d(x, 1)],
    "adaptive_max_pool3d": [lambda x: F.adaptive_max_pool3d(x, 1)],
    "adaptive_avg_pool1d": [lambda x: F.adaptive_avg_pool1d(x[:, 0], 2)],
    "adaptive_avg_pool2d": [lambda x: F.adaptive_avg_pool2d(x, (1, 1))],
    "adaptive_avg_pool3d": [lambda x: F.adaptive_avg_pool3d(x, 1)],
    "avg_pool1d": [lambda x: F.avg_pool1d(x[:, 0], 2)],
    "avg_pool2d": [lambda x: F.avg_pool2d(x, 2, divisor_override=3)],
    "avg_pool3d": [lambda x: F.avg_pool3d(x, 2)],
    "cat": [
        lambda x: torch.cat([x, x], 1),
        lambda x: torch.cat(tensors=[x, x], dim=1),
        lambda x: torch.cat((x, x[:, :1]), dim=1),
    ],
    "concat": [lambda x: torch.concat([x, x], 1)],
    "concatenate": [lambda x: torch.concatenate([x, x], 1)],
    "stack": [lambda x: torch.stack([x, x])],
    "hstack": [lambda x: torch.hstack([x, x])],
    "vstack": [lambda x: torch.vstack([x, x])],
    "add": [lambda x: x + x, lambda x: torch.add(x, x, alpha=2), lambda x: x.clone().add_(x)],
    "mul": [lambda x: 2 * x * 0.5, lambda x: x * x.shape[1], lambda x: x.mul(x.size(1) * 2)],
    "multiply": [lambda x: x.multiply(3)],
    "div": [lambda x: x.div(2)],
    "truediv": [lambda x: x / 3, lambda x: x / x.shape[-1]],
    "divide": [lambda x: torch.divide(x, 3)],
    "true_divide": [lambda x: x.true_divide(3)],
    "max": [
        lambda x: x.max(1)[0],
        lambda x: torch.max(x, dim=1).values,
        lambda x: first(x.max(1)),
        lambda x: x.max(),
    ],
    "min": [lambda x: x.min(2)[0], lambda x: torch.min(x, x.flip(1)), lambda x: x.min()],
    "maximum": [lambda x: torch.maximum(x, x.flip(2))],
    "minimum": [lambda x: x.minimum(x.flip(2))],
    "interpolate": [
        lambda x: F.interpolate(x, scale_factor=2),
        lambda x: F.interpolate(x, size=(4, 9), mode="bilinear", align_corners=True),
        lambda x: F.interpolate(x, size=(4, 9), mode="bilinear", antialias=True),
        lambda x: F.interpolate(x, size=(4, 9), mode="area"),
    ],
    "pad": [
        lambda x: F.pad(x, (1, 2)),
        lambda x: F.pad(x, (1, 2, 1, 1), mode="reflect"),
        lambda x: F.pad(x, (1, 2), value=0.0),
        lambda x: F.pad(x, (1, -2, 1, 1), mode="circular"),
    ],
    "getitem": [lambda x: x[:, ::2, None], lambda x: x[..., : x.shape[1] // 2]],
    "getattr": [lambda x: x.mT],
    "size": [lambda x: x / x.size(1)],
    "numel": [lambda x: x / x.numel()],
    "dim": [lambda x: x.flatten(x.dim() - 2)],
    "ndimension": [lambda x: x.flatten(x.ndimension() - 2)],
    "floordiv": [lambda x: x * (x.shape[1] // 2)],
    "sub": [lambda x: x.narrow(1, 0, x.shape[1] - 1)],
    "neg": [lambda x: x.flip(-x.dim() + 1)],
    "mod": [lambda x: x.narrow(1, 0, x.shape[1] % 3)],
    "pow": [lambda x: x.flatten(1).narrow(1, 0, x.shape[1] ** 2)],
    "zeros_like": [lambda x: torch.cat([x, torch.zeros_like(x)], 1)],
    "new_zeros": [lambda x: torch.cat([x, x.new_zeros(x.shape)], 1)],
}
#: In-place operators become the others where Python traces them.
WITHOUT_A_CALL = {"iadd", "imul", "itruediv", "feature_dropout"}


def test_every_rule_is_tried():
    assert set(RULES) == set(CALLS) | WITHOUT_A_CALL


@pytest.mark.parametrize("name", CALLS)
def test_what_is_admitted_is_increasing_and_zero_at_zero(name):
    for function in CALLS[name]:

        class Network(nn.Module):
            def forward(self, x, function=function):
                return function(x)

        certify(Network())
        x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(1))
        generator = torch.Generator().manual_seed(2)
        check = check_monotone(Network(), x, directions=6, generator=generator)
        assert check.ok, check
        assert not Network()(torch.zeros_like(x)).any()
