import pytest
import torch
from AttribSegLib.attribution.grad_cam import grad_cam
from AttribSegLib.errors import InputError
from AttribSegLib.networks.patchgan import PatchGAN
from captum.attr import LayerAttribution, LayerGradCam
from monai.networks.nets import DenseNet, resnet18
from torch import nn

SHAPES = {2: (2, 2, 22, 21), 3: (2, 2, 17, 16, 15)}
MODES = {2: "bilinear", 3: "trilinear"}


def network_of(dimensions: int) -> PatchGAN:
    torch.manual_seed(3)
    return PatchGAN(dimensions=dimensions, width=0.06, strides=(2, 1, 1, 1), in_channels=2)


def captum(network, x, layer, relu=True, mode="linear"):
    found = LayerGradCam(network, layer).attribute(x, relu_attributions=relu)
    mode = MODES[x.ndim - 2] if mode == "linear" else mode
    return LayerAttribution.interpolate(found, tuple(x.shape[2:]), mode).detach()


def assert_equal(found, expected):
    assert expected.abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_equals_captum(dimensions, relu, mode):
    network, x = network_of(dimensions), torch.randn(SHAPES[dimensions])
    for name in ("layers.2", "layers.5", "layers.8"):
        found = grad_cam(network, x, layer=name, relu=relu, mode=mode)
        assert found.shape == (2, 1, *x.shape[2:])
        assert_equal(found, captum(network, x, network.get_submodule(name), relu, mode))
        by_module = grad_cam(network, x, layer=network.get_submodule(name), relu=relu, mode=mode)
        torch.testing.assert_close(by_module, found)


def test_a_score_known_by_heart():
    network = nn.Sequential(
        nn.Conv2d(1, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1)
    )
    nn.init.constant_(network[0].weight[0], 1.0)
    nn.init.constant_(network[0].weight[1], -2.0)
    network[3].weight = nn.Parameter(torch.tensor([[3.0, 0.5]]))
    x = torch.randn(2, 1, 4, 5)
    # A = (x, -2 x), dF/dA = (3, 1/2) / 20: 3 x / 20 - x / 20.
    torch.testing.assert_close(grad_cam(network, x, layer="0", relu=False), x / 10)
    torch.testing.assert_close(grad_cam(network, x, layer="0"), x.clamp(min=0) / 10)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_layers_before_an_activation_in_place(dimensions):
    torch.manual_seed(3)
    network = DenseNet(
        spatial_dims=dimensions,
        in_channels=2,
        out_channels=1,
        init_features=4,
        growth_rate=4,
        block_config=(2, 2),
    ).eval()
    x = torch.randn(2, 2, *(40,) * dimensions)
    name = "features.denseblock1.denselayer2.layers.norm2"  # a ReLU in place follows
    found = grad_cam(network, x, layer=name, relu=False)
    module = network.get_submodule(name)
    for other in network.modules():
        if isinstance(other, nn.ReLU):
            other.inplace = False
    assert_equal(found, captum(network, x, module, relu=False))


def test_the_default_is_the_last_wide_convolution_before_the_head():
    x = torch.randn(1, 2, 22, 21)
    patchgan = network_of(2)
    last = patchgan.layers[8]
    assert last.out_channels > 1
    torch.testing.assert_close(grad_cam(patchgan, x), grad_cam(patchgan, x, layer=last))
    resnet = resnet18(spatial_dims=2, n_input_channels=2, num_classes=1).eval()
    # 8 voxels leave 2 in layer 2, and a single one in layer 3, which is of no use.
    expected = grad_cam(resnet, x[..., :8, :8], layer="layer2.1.conv2")
    torch.testing.assert_close(grad_cam(resnet, x[..., :8, :8]), expected)
    wide = torch.randn(1, 2, 72, 72)
    expected = grad_cam(resnet, wide, layer="layer4.1.conv2")
    torch.testing.assert_close(grad_cam(resnet, wide), expected)


def test_leaves_no_trace():
    network, x = network_of(2), torch.randn(SHAPES[2])
    network.layers[4].requires_grad_(False)
    network.layers[3].eval()
    before = (
        [p.requires_grad for p in network.parameters()],
        [m.training for m in network.modules()],
    )

    def hooks() -> int:
        return sum(len(m._forward_hooks) + len(m._backward_hooks) for m in network.modules())

    with torch.no_grad():
        found = grad_cam(network, x)
    assert not found.requires_grad
    with pytest.raises(InputError):
        grad_cam(network, x[:, :1])  # the network itself refuses
    with pytest.raises(InputError):
        grad_cam(network, x[:, :1], layer="layers.0")
    after = [p.requires_grad for p in network.parameters()], [m.training for m in network.modules()]
    assert after == before
    assert hooks() == 0
    assert x.grad is None
    assert all(p.grad is None for p in network.parameters())


def test_frozen_weights_change_nothing():
    network, x = network_of(2), torch.randn(SHAPES[2])
    expected = grad_cam(network, x)
    torch.testing.assert_close(grad_cam(network.requires_grad_(False), x), expected)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.unused = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)
        self.aside = nn.Conv2d(1, 1, 1)
        self.head = nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.aside(x)
        return self.head(self.convolution(self.convolution(x)).flatten(1))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("nowhere", r"'nowhere'.*aside, head"),
        (nn.ReLU(), "not in the network"),
        ("head", r"\(2, 1\), not \(B, channels, i, j\)"),
        ("convolution", "runs 2 times"),
        ("unused", "runs 0 times"),
        ("aside", "does not depend"),
    ],
)
def test_unfit_layers(layer, message):
    with pytest.raises(InputError, match=message):
        grad_cam(Twice(), torch.randn(2, 1, 4, 4), layer=layer)


def test_bad_input():
    network, x = network_of(2), torch.randn(SHAPES[2])
    with pytest.raises(InputError, match="mode 'cubic'"):
        grad_cam(network, x, mode="cubic")
    with pytest.raises(InputError, match="input of shape"):
        grad_cam(network, x[0, 0])
    with pytest.raises(InputError, match="one per image"):
        grad_cam(network.layers, x, layer="2")
    dense = nn.Sequential(nn.Flatten(), nn.Linear(16, 1))
    with pytest.raises(InputError, match="no convolution"):
        grad_cam(dense, torch.randn(1, 1, 4, 4))
