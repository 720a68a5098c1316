"""Classifiers by name, users' own ones, and where the names come from."""

import sys
from dataclasses import replace

import pytest
import torch
from AttribSegLib import networks
from AttribSegLib.bundle import Bundle, load_bundle, save_bundle
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry
from AttribSegLib.networks import NETWORKS, build_network, is_known, register_network
from AttribSegLib.networks.twice import Conv2d, Conv3d, plain_layers
from AttribSegLib.recipes import Batch
from AttribSegLib.recipes.attribution import AttributionRecipe
from AttribSegLib.thresholds import USER, Threshold
from torch import nn

#: Large enough that the last grid of a DenseNet, a 32nd of it, has voxels to normalise over.
SHAPES = {2: (64, 64), 3: (64, 32, 32)}


@pytest.fixture(autouse=True)
def clean_register(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(networks, "_REGISTER", {})


def made(name, dimensions=2, **options):
    torch.manual_seed(0)
    entries = {"in_channels": 2, "width": 0.12, **options}
    return build_network(name, dimensions=dimensions, **entries)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_name_gives_one_logit_per_image(name, dimensions):
    network = made(name, dimensions).double().eval()
    x = torch.randn(2, 2, *SHAPES[dimensions], dtype=torch.float64)
    with torch.no_grad():
        logits = network(x)
        alone = torch.cat([network(each[None]) for each in x])
    assert logits.shape == (2,)
    assert torch.isfinite(logits).all()
    assert logits[0] != logits[1]
    torch.testing.assert_close(logits, alone)


@pytest.mark.parametrize("name", NETWORKS)
def test_convolutions_have_cheap_second_derivatives(name):
    for dimensions, kind in ((2, Conv2d), (3, Conv3d)):
        network = made(name, dimensions)
        layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d))]
        assert layers
        assert all(type(layer) is kind for layer in layers)


@pytest.mark.parametrize("norm", ["instance", "batch", "group", "layer"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu"])
@pytest.mark.parametrize(
    ("name", "norms"), [("resnet18", 20), ("resnet50", 53), ("densenet121", 121)]
)
def test_all_layers_have_the_norm_and_the_activation(name, norms, norm, activation):
    """In every block: one batch norm left would mix the images of a batch."""
    width = 1.0 if name == "densenet121" else 0.12
    network = made(name, norm=norm, activation=activation, width=width)
    kinds = {
        "instance": nn.InstanceNorm2d,
        "batch": nn.BatchNorm2d,
        "group": nn.GroupNorm,
        "layer": nn.GroupNorm,
    }
    found = [m for m in network.modules() if isinstance(m, tuple(kinds.values()))]
    assert {type(m) for m in found} == {kinds[norm]}
    assert len(found) == norms
    if norm in ("group", "layer"):
        assert {m.num_groups for m in found} == {8 if norm == "group" else 1}
    assert all(m.weight is not None for m in found)
    rectifiers = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU}
    rectifying = [m for m in network.modules() if isinstance(m, tuple(rectifiers.values()))]
    assert len(rectifying) > 8
    assert {type(m) for m in rectifying} == {rectifiers[activation]}
    assert not any(m.inplace for m in rectifying)


@pytest.mark.parametrize("norm", ["instance", "group", "layer"])
@pytest.mark.parametrize("name", ["patchgan", "resnet18", "resnet50", "densenet121"])
def test_images_do_not_mix_in_training(name, norm):
    """Nor in the gradients: what the constraint on the healthy images relies on."""
    width = 1.0 if name == "densenet121" else 0.12
    network = made(name, norm=norm, width=width).double().train()
    x = torch.randn(3, 2, *SHAPES[2], dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        alone = torch.cat([network(each[None]) for each in x])
    logits = network(x)
    torch.testing.assert_close(logits, alone)
    (gradient,) = torch.autograd.grad(logits[0], x)
    assert gradient[0].abs().max() > 0
    assert gradient[1:].abs().max() == 0


def test_width_scales_the_filters():
    counts = [
        sum(p.numel() for p in made("resnet18", width=width).parameters())
        for width in (0.12, 0.25, 0.5, 1.0)
    ]
    assert counts == sorted(counts)
    assert counts[-1] / counts[-2] == pytest.approx(4, rel=0.05)
    # The published ResNet-18 has 11.2 million without its 1000 classes.
    assert counts[-1] == pytest.approx(11.2e6, rel=0.02)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_second_derivatives_are_those_of_the_plain_layers(name, dimensions):
    network = made(name, dimensions, in_channels=1, activation="elu").double()
    x = torch.randn(1, 1, *SHAPES[dimensions], dtype=torch.float64)

    def derivatives():
        network.zero_grad()
        leaf = x.clone().requires_grad_(True)
        logits = network(leaf)
        (maps,) = torch.autograd.grad(logits.sum(), leaf, create_graph=True)
        (1e3 * maps).sigmoid().mean().backward()
        weights = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
        return logits.detach(), maps.detach(), weights

    logits, maps, weights = derivatives()
    with plain_layers():
        plain_logits, plain_maps, plain_weights = derivatives()
    torch.testing.assert_close(logits, plain_logits)
    torch.testing.assert_close(maps, plain_maps)
    assert maps.abs().max() > 0
    # Ours gives a bias behind the last rectifier no gradient, or one of zero.
    for weight, expected in plain_weights.items():
        found = weights.get(weight, torch.zeros_like(expected))
        scale = float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9 * max(scale, 1.0))
    assert sum(float(each.abs().max()) > 0 for each in weights.values()) > 20


@pytest.mark.parametrize("name", ["alexnet", "", "ResNet18", "AttribSegLib.networks.patchgan"])
def test_unknown_names_are_refused(name):
    assert not is_known(name)
    with pytest.raises(InputError, match="one of patchgan, resnet18"):
        made(name)
    with pytest.raises(InputError, match="one of patchgan, resnet18"):
        AttributionRecipe(network=name)


def test_names_are_text():
    assert not is_known(None)
    assert not is_known(["resnet18"])
    assert all(map(is_known, NETWORKS))
    with pytest.raises(InputError, match="network 3"):
        AttributionRecipe(network=3)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"norm": "none"}, "norm 'none'"),
        ({"activation": "softplus"}, "activation 'softplus'"),
        ({"norm": "x"}, "norm 'x'"),
    ],
)
@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_options_that_do_not_fit_are_refused(name, options, named):
    with pytest.raises(InputError, match=named):
        made(name, **options)


def test_inputs_that_do_not_fit_are_refused():
    network = made("resnet18")
    for shape in [(1, 1, 32, 32), (1, 2, 32, 32, 32), (2, 32, 32)]:
        with pytest.raises(InputError, match="input of shape"):
            network(torch.zeros(shape))


class Own(nn.Module):
    """A user's network; its activation is smooth and it has no batch statistics."""

    def __init__(self, *, dimensions, in_channels, width, norm, activation):
        super().__init__()
        self.options = {"width": width, "norm": norm, "activation": activation}
        kind = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.first = kind(in_channels, 6, 3, padding=1)
        self.last = nn.Linear(6, 1)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)).flatten(2).mean(2))


def recipe_of(**options):
    entries = {"network": "own", "width": 0.3, "alpha": 0.05, "background": 0.0, "clip": 0.0}
    return AttributionRecipe(**{**entries, **options})


def batch_of(dimensions=2):
    generator = torch.Generator().manual_seed(1)
    size = (9, 8, 7)[:dimensions]
    healthy = torch.randn(4, 1, *size, generator=generator)
    lesions = torch.zeros(4, 1, *size, dtype=torch.bool)
    lesions[:, :, 3:6, 3:6] = True
    pathological = torch.where(lesions, healthy.flip(0) + 3, healthy.flip(0))
    brain = torch.ones_like(lesions)
    return Batch(healthy, pathological, brain, brain, lesions, torch.ones(4, dtype=torch.bool))


@pytest.mark.parametrize("constraint", ["unsup", "sup"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_registered_network_trains(dimensions, constraint):
    assert register_network("own")(Own) is Own
    recipe = recipe_of(constraint=constraint)
    torch.manual_seed(0)
    network = recipe.build(in_channels=1, dimensions=dimensions)
    assert network.body.options == {"width": 0.3, "norm": "instance", "activation": "leaky_relu"}
    kind = Conv2d if dimensions == 2 else Conv3d
    assert type(network.body.first) is kind
    last = {}
    for alpha in (1e-9, 0.2):  # hardly any constraint, and some
        changed = replace(recipe, alpha=alpha)
        torch.manual_seed(0)
        network = changed.build(in_channels=1, dimensions=dimensions)
        optimiser = torch.optim.Adam(network.parameters(), lr=3e-2)
        history = []
        for _ in range(60):
            optimiser.zero_grad()
            loss = changed.batch_loss(network, batch_of(dimensions))
            loss.total.backward()
            optimiser.step()
            history.append(loss.terms)
        assert history[-1]["loss"] < history[0]["loss"] - 0.01
        last[alpha] = history[-1]["constraint"]
    assert last[0.2] < last[1e-9] - 0.1


def test_a_registered_network_comes_back_from_its_bundle(tmp_path):
    register_network("own")(Own)
    recipe = recipe_of()
    torch.manual_seed(0)
    network = recipe.build(in_channels=1, dimensions=2).eval()
    thresholds = {"attribution": Threshold(0.1, USER), "FLAIR intensity": Threshold(1.0, USER)}
    bundle = Bundle(recipe, network, ("FLAIR",), 2, Geometry((9, 8, 1)), thresholds)
    save_bundle(bundle, tmp_path)
    loaded = load_bundle(tmp_path)
    assert loaded.recipe == recipe
    x = batch_of().healthy
    for found, expected in zip(
        loaded.recipe.explain(loaded.network, x), recipe.explain(network, x), strict=True
    ):
        assert torch.equal(found, expected)
    networks._REGISTER.clear()  # as on a machine that does not have it
    with pytest.raises(InputError, match="network 'own'"):
        load_bundle(tmp_path)


def test_a_name_that_is_there_is_not_given_twice():
    for name in NETWORKS:
        with pytest.raises(InputError, match=f"{name}' is there already"):
            register_network(name)
    register_network("own")(Own)
    register_network("own")(Own)  # as when a notebook cell runs again


def test_own_networks_are_checked():
    @register_network("vector")
    class Vector(Own):
        def forward(self, x):
            return super().forward(x).expand(-1, 3)

    @register_network("flat")
    class Flat(Own):
        def forward(self, x):
            return super().forward(x)[:, 0]

    @register_network("narrow")
    def narrow(dimensions, in_channels):
        raise AssertionError("never called")

    with pytest.raises(InputError, match="one logit per image"):
        made("vector")(torch.zeros(2, 2, 8, 8))
    assert made("flat")(torch.zeros(2, 2, 8, 8)).shape == (2,)
    with pytest.raises(InputError, match="network 'narrow' could not be made"):
        made("narrow")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package with three entry points, as an installer would leave it."""
    (tmp_path / "attribseg_guest.py").write_text(
        "from torch import nn\n\n\n"
        "class Guest(nn.Module):\n"
        "    def __init__(self, *, in_channels, dimensions, **options):\n"
        "        super().__init__()\n"
        "        self.layer = nn.Conv2d(in_channels, 1, 3)\n\n"
        "    def forward(self, x):\n"
        "        return self.layer(x).flatten(1).mean(1)\n",
        encoding="utf-8",
    )
    (tmp_path / "attribseg_trap.py").write_text(
        "raise RuntimeError('imported')\n", encoding="utf-8"
    )
    folder = tmp_path / "attribseg_guest-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: attribseg-guest\nVersion: 1.0\n", encoding="utf-8"
    )
    (folder / "entry_points.txt").write_text(
        "[attribseg.networks]\n"
        "guest = attribseg_guest:Guest\n"
        "trap = attribseg_trap:Trap\n"
        "absent = attribseg_guest:Absent\n"
        "missing = attribseg_no_such_module:Missing\n"
        "patchgan = attribseg_trap:Trap\n\n"
        "[attribseg.other]\n"
        "elsewhere = attribseg_guest:Guest\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("attribseg_guest", "attribseg_trap"):
        sys.modules.pop(name, None)


def test_entry_points_are_loaded_by_name_and_no_other(installed):
    assert "attribseg_guest" not in sys.modules
    assert is_known("guest")
    assert "attribseg_trap" not in sys.modules
    network = AttributionRecipe(network="guest").build(in_channels=1, dimensions=2)
    assert type(network.body).__name__ == "Guest"
    assert network(torch.zeros(3, 1, 8, 8)).shape == (3,)
    # A dotted path is no name, another group is not looked at, and ours are not replaced.
    for name in ("attribseg_guest:Guest", "attribseg_guest.Guest", "elsewhere"):
        assert not is_known(name)
    assert type(made("patchgan")).__name__ == "PatchGAN"
    assert "attribseg_trap" not in sys.modules


@pytest.mark.parametrize("name", ["absent", "missing"])
def test_an_entry_point_that_leads_nowhere_is_an_error_in_one_line(installed, name):
    with pytest.raises(InputError, match=f"network '{name}'") as caught:
        AttributionRecipe(network=name)
    assert "\n" not in str(caught.value)


def test_recipes_pass_their_options_on():
    recipe = AttributionRecipe(network="resnet18", width=0.12, norm="group", activation="elu")
    network = recipe.build(in_channels=3, dimensions=2)
    assert any(isinstance(m, nn.GroupNorm) for m in network.modules())
    assert any(isinstance(m, nn.ELU) for m in network.modules())
    with pytest.warns(UserWarning, match="batch norm"):
        replace(recipe, norm="batch").build(in_channels=1, dimensions=2)
