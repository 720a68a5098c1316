import json
import os
import socket
import subprocess
import sys

import pytest
import torch
from AttribSegLib.bundle import load_bundle
from AttribSegLib.errors import InputError
from AttribSegLib.recipes.attribution import AttributionRecipe
from AttribSegLib.training.augmentation import AugmentationOptions
from AttribSegLib.training.distributed import Process, joined, select_device
from AttribSegLib.training.run import train_bundle

RECIPE = AttributionRecipe(
    width=0.04,
    strides=(2, 1, 1, 1),
    batch_size=4,
    epochs=2,
    average=0.5,
    augmentation=AugmentationOptions(flip=0.5, elastic=0.5),
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="no gloo",
)
def test_two_processes_train_the_model_of_one(tmp_path, small_cohort):
    cohort = small_cohort(train=8, validation=4, write_test=False, test=0)
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(RECIPE.to_dict()), encoding="utf-8")
    alone = train_bundle(cohort, RECIPE, tmp_path / "alone", device="cpu", seed=3)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-port", str(free_port()), "-m", "AttribSegLib", "train", cohort.source]
    command += ["--recipe", str(recipe), "--out", str(tmp_path / "both"), "--seed", "3"]
    command += ["--device", "cpu", "--threads", "1", "--json"]
    environment = {name: value for name, value in os.environ.items() if name != "WORLD_SIZE"}
    done = subprocess.run(
        command,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    # One process speaks for both, from the first event on.
    checked = [event["done"] for event in events if event["event"] == "check"]
    assert checked == sorted(set(checked))
    assert [event["event"] for event in events].count("start") == 1
    assert [event["event"] for event in events].count("epoch") == 2
    together = load_bundle(tmp_path / "both")
    assert together.record["processes"] == 2
    for found, expected in zip(together.record["history"], alone.record["history"], strict=True):
        assert set(found) == set(expected)
        for key in set(expected) - {"seconds"}:
            assert found[key] == pytest.approx(expected[key], abs=1e-5), key
    # The same up to the order in which gradients are summed.
    weights = alone.network.state_dict()
    for name, tensor in together.network.state_dict().items():
        torch.testing.assert_close(tensor, weights[name], rtol=1e-3, atol=1e-4)
    for name, threshold in together.thresholds.items():
        assert threshold.rule == alone.thresholds[name].rule
        assert threshold.value == pytest.approx(alone.thresholds[name].value, rel=1e-2, abs=1e-3)

    def files(folder):
        return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())

    assert files(tmp_path / "both") == files(tmp_path / "alone")


def test_alone_nothing_is_exchanged():
    process = Process()
    assert process.leads
    assert process.average([1.0, 2.0]) == [1.0, 2.0]
    assert process.agree(True)
    assert not process.agree(False)
    process.wait()
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.tensor([1.0, 3.0])
    process.average_gradients([parameter])
    assert parameter.grad.tolist() == [1.0, 3.0]
    assert not Process(1, 2).leads


def test_joined_is_alone_without_torchrun(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined(torch.device("cpu")) as process:
        assert (process.rank, process.world) == (0, 1)
    assert not torch.distributed.is_initialized()


def exchange(rank, port, folder):
    """What each of two processes does."""
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "WORLD_SIZE": "2",
    }
    with joined(torch.device("cpu")) as process:
        first = torch.nn.Parameter(torch.zeros(2, 2))
        frozen = torch.nn.Parameter(torch.zeros(1))
        second = torch.nn.Parameter(torch.zeros(3))
        first.grad = torch.full((2, 2), float(rank + 1))
        second.grad = torch.arange(3.0) * rank
        process.average_gradients(iter([first, frozen, second]))
        result = {
            "rank": process.rank,
            "first": first.grad.tolist(),
            "frozen": frozen.grad is None,
            "second": second.grad.tolist(),
            "average": process.average([float(rank), 1.0]),
            "one": process.agree(rank == 1),
            "none": process.agree(False),
        }
        process.wait()
    result["left"] = not torch.distributed.is_initialized()
    (folder / f"{rank}.json").write_text(json.dumps(result), encoding="utf-8")


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="no gloo")
def test_two_processes_exchange(tmp_path):
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); "
        "from test_distributed import exchange; "
        "exchange(int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))"
    )
    here, port = os.path.dirname(__file__), free_port()  # noqa: PTH120
    running = [
        subprocess.Popen([sys.executable, "-c", script, here, str(rank), str(port), str(tmp_path)])
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8"))
        assert found == {
            "rank": rank,
            "first": [[1.5, 1.5], [1.5, 1.5]],
            "frozen": True,
            "second": [0.0, 0.5, 1.0],
            "average": [0.5, 1.0],
            "one": True,
            "none": False,
            "left": True,
        }


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert select_device("auto") == torch.device("cpu")
    assert select_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="no CUDA device"):
        select_device("cuda")
    with pytest.raises(InputError, match="device 'gpu'"):
        select_device("gpu")
