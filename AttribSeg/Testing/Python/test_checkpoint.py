import json
import os
import pickle
import stat

import pytest
import torch
from AttribSegLib.errors import InputError
from AttribSegLib.networks.patchgan import PatchGAN
from AttribSegLib.training.checkpoint import (
    load_tensors,
    load_weights,
    optimiser_tensors,
    restore_optimiser,
    save_tensors,
)


def test_round_trip_is_exact(tmp_path):
    tensors = {
        "a": torch.randn(3, 4),
        "b.c": torch.randn(2, 3, dtype=torch.float64),
        "transposed": torch.randn(3, 4).t(),
        "whole": torch.tensor(7),
        "half": torch.randn(5).bfloat16(),
        "mask": torch.tensor([True, False]),
        "weight": torch.nn.Parameter(torch.randn(2)),
        "special": torch.tensor([float("nan"), float("inf"), -0.0]),
    }
    meta = {"list": [1, 2.5, None], "text": "Ä", "nested": {"x": 0.1 + 0.2}}
    path = tmp_path / "folder" / "file.safetensors"
    save_tensors(path, tensors, meta)
    found, found_meta = load_tensors(path)
    assert found_meta == meta
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        torch.testing.assert_close(found[name], tensor.detach(), rtol=0, atol=0, equal_nan=True)
    assert [item.name for item in path.parent.iterdir()] == ["file.safetensors"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_permissions_follow_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        save_tensors(tmp_path / "file.safetensors", {"a": torch.zeros(1)}, {})
    finally:
        os.umask(before)
    mode = stat.S_IMODE((tmp_path / "file.safetensors").stat().st_mode)
    assert mode == 0o666 & ~mask


def test_failing_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "file.safetensors"
    save_tensors(path, {"a": torch.ones(1)}, {})
    with pytest.raises(TypeError):
        save_tensors(path, {"a": torch.zeros(1)}, {"not JSON": object()})
    assert load_tensors(path)[0]["a"] == 1
    assert [item.name for item in tmp_path.iterdir()] == ["file.safetensors"]


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_tensors(tmp_path / "file.safetensors")


class Trap:
    """Unpickling it would leave a trace."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_pickles_are_refused_and_not_run(tmp_path, form):
    path, trap = tmp_path / "file.safetensors", tmp_path / "trap"
    if form == "pickle":
        path.write_bytes(pickle.dumps(Trap(trap)))
    else:
        torch.save({"a": Trap(trap)}, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(InputError, match="a pickle, which is never loaded"):
        load_tensors(path)
    assert not trap.exists()


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "file.safetensors"
    save_tensors(path, {"a": torch.randn(100)}, {"x": 1})
    content = path.read_bytes()
    for damaged in (
        b"",
        b"x",
        b"garbage" * 50,
        content[:-1],
        content[:200],
        content[:9],
        content[8:],
    ):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="not safetensors weights but damaged"):
            load_tensors(path)


def test_record_that_is_no_json_is_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "file.safetensors"
    for record in ("{", "[1]"):
        save_file({"a": torch.zeros(1)}, path, metadata={"attribseg": record})
        with pytest.raises(InputError, match="damaged"):
            load_tensors(path)
    save_file({"a": torch.zeros(1)}, path)  # from another program: no record
    assert load_tensors(path)[1] == {}


OPTIMISERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "adadelta": lambda p: torch.optim.Adadelta(p, lr=1.0),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
}


@pytest.mark.parametrize("name", list(OPTIMISERS))
def test_optimisers_go_on_exactly(tmp_path, name):
    def setting():
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
        return network, OPTIMISERS[name](network.parameters())

    def steps(network, optimiser, numbers):
        for number in numbers:
            generator = torch.Generator().manual_seed(number)
            optimiser.zero_grad()
            (network(torch.randn(5, 3, generator=generator)) ** 2).mean().backward()
            optimiser.step()

    whole, optimiser = setting()
    steps(whole, optimiser, range(3))
    tensors, meta = optimiser_tensors(optimiser)
    tensors |= {f"network.{n}": t for n, t in whole.state_dict().items()}
    save_tensors(tmp_path / "file.safetensors", tensors, meta)
    steps(whole, optimiser, range(3, 6))

    resumed, optimiser = setting()
    for group in optimiser.param_groups:
        group["lr"] = 5.0  # the checkpoint's own is what counts
    tensors, meta = load_tensors(tmp_path / "file.safetensors")
    weights = {n[8:]: t for n, t in tensors.items() if n.startswith("network.")}
    load_weights(resumed, weights, source=tmp_path)
    restore_optimiser(optimiser, tensors, meta)
    steps(resumed, optimiser, range(3, 6))
    for found, expected in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(found, expected)


def test_state_of_an_optimiser_that_never_stepped():
    network = torch.nn.Linear(2, 1)
    tensors, meta = optimiser_tensors(torch.optim.Adam(network.parameters(), lr=0.3))
    optimiser = torch.optim.Adam(network.parameters(), lr=0.1)
    restore_optimiser(optimiser, tensors, json.loads(json.dumps(meta)))
    assert optimiser.param_groups[0]["lr"] == 0.3
    assert not optimiser.state


def test_weights_that_do_not_fit_are_named(tmp_path):
    def weights(**parameters):
        chosen = {"dimensions": 2, "width": 0.05, **parameters}
        return PatchGAN(**chosen).state_dict()

    network = PatchGAN(dimensions=2, width=0.05)
    source = tmp_path / "file.safetensors"
    good = weights()
    load_weights(network, good, source=source)
    assert all(torch.equal(t, good[n]) for n, t in network.state_dict().items())
    first = next(iter(good))
    missing = {n: t for n, t in good.items() if n != first}
    with pytest.raises(InputError, match=rf"file.safetensors: weight {first} is missing"):
        load_weights(network, missing, source=source)
    with pytest.raises(InputError, match="unknown weight extra"):
        load_weights(network, good | {"extra": torch.zeros(1)}, source=source)
    with pytest.raises(InputError, match=rf"weight {first} has shape"):
        load_weights(network, weights(in_channels=2), source=source)
    with pytest.raises(InputError, match=rf"weight {first} has shape"):
        load_weights(network, weights(dimensions=3), source=source)
    assert all(torch.equal(t, good[n]) for n, t in network.state_dict().items())
