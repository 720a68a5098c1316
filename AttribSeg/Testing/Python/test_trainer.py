import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from AttribSegLib.cases import PreparedCase
from AttribSegLib.cohort import Case
from AttribSegLib.errors import Cancelled, InputError
from AttribSegLib.image import Geometry
from AttribSegLib.recipes import BatchLoss
from AttribSegLib.recipes.attribution import AttributionRecipe
from AttribSegLib.training.augmentation import NO_AUGMENTATION, AugmentationOptions
from AttribSegLib.training.checkpoint import load_tensors
from AttribSegLib.training.trainer import Trainer

RECIPE = AttributionRecipe(
    width=0.04,
    strides=(2, 1, 1, 1),
    batch_size=4,
    epochs=4,
    augmentation=NO_AUGMENTATION,
    learning_rate=3e-3,
    alpha_warmup=0.0,
    average=0.0,
    background=0.0,
    clip=0.0,
)
VARIED = AugmentationOptions(flip=0.5, elastic=0.5)


def slices(count, *, seed=0, name="c"):
    """Slices of noise, every other one with a bright box."""
    rng = np.random.default_rng(seed)
    grid = Geometry((12, 11, 1))
    result = []
    for number in range(count):
        array = rng.normal(size=(1, *grid.size)).astype(np.float32)
        brain = np.ones(grid.size, dtype=bool)
        brain[[0, -1]] = False
        if number % 2:
            array[:, 4:8, 4:8] += 3
        case = Case(f"{name}{number}", f"{name}{number}", number % 2, "train", {}, slice=0)
        result.append(PreparedCase(case, np.where(brain, array, 0), brain, None, grid))
    return result


def trainer_of(folder, recipe=RECIPE, *, training=None, validation=None, **options):
    return Trainer(
        recipe,
        slices(6) if training is None else training,
        slices(4, seed=1, name="v") if validation is None else validation,
        folder=folder,
        **options,
    )


def without_times(history):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history]


def weights(result):
    return {name: tensor.clone() for name, tensor in result.network.state_dict().items()}


def assert_same(first, second):
    assert without_times(first.history) == without_times(second.history)
    assert first.best_epoch == second.best_epoch
    for name, tensor in weights(first).items():
        assert torch.equal(tensor, weights(second)[name]), name


@pytest.mark.parametrize(
    ("changes", "stop_after"),
    [
        ({}, 3),
        ({"average": 0.9, "schedule": "constant"}, 6),
        ({"average": 0.99, "optimiser": "sgd", "augmentation": VARIED}, 3),
        ({"optimiser": "adamw", "weight_decay": 0.1, "norm": "batch", "average": 0.5}, 4),
        ({"optimiser": "adadelta", "learning_rate": 1.0, "constraint": "none"}, 5),
    ],
)
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, changes, stop_after):
    recipe = replace(RECIPE, epochs=3, **changes)
    whole = trainer_of(tmp_path / "whole", recipe, seed=3).run()
    asked = []

    def stop():
        asked.append(True)
        return len(asked) >= stop_after

    with pytest.raises(Cancelled, match="whole epochs are saved"):
        trainer_of(tmp_path / "cut", recipe, seed=3, should_stop=stop).run()
    assert len(asked) == stop_after
    torch.manual_seed(12345)  # the state of the global generator must not matter
    resumed = trainer_of(tmp_path / "cut", recipe, seed=3).run(resume=True)
    assert_same(resumed, whole)
    last = [load_tensors(tmp_path / name / "last.safetensors")[0] for name in ("whole", "cut")]
    assert set(last[0]) == set(last[1])
    assert all(torch.equal(last[0][name], last[1][name]) for name in last[0])


def test_a_run_stopped_in_its_first_epoch_starts_again(tmp_path):
    with pytest.raises(Cancelled, match="0 whole epochs"):
        trainer_of(tmp_path, should_stop=lambda: True).run()
    assert not (tmp_path / "last.safetensors").exists()
    assert_same(trainer_of(tmp_path).run(resume=True), trainer_of(tmp_path / "other").run())


def test_a_finished_run_resumed_trains_no_further(tmp_path):
    first = trainer_of(tmp_path).run()
    events = []
    second = trainer_of(tmp_path, on_event=events.append).run(resume=True)
    (event,) = events
    assert event["event"] == "history"
    assert event["epochs"] == first.history
    assert_same(first, second)


def test_the_seed_decides_everything(tmp_path):
    recipe = replace(RECIPE, epochs=1, augmentation=VARIED)
    runs = [trainer_of(tmp_path / str(n), recipe, seed=s).run() for n, s in enumerate((1, 1, 2))]
    assert_same(runs[0], runs[1])
    assert without_times(runs[0].history) != without_times(runs[2].history)


def test_resuming_something_else_is_refused(tmp_path):
    recipe = replace(RECIPE, epochs=1)
    trainer_of(tmp_path, recipe, seed=1).run()
    other = slices(6)
    other[2] = replace(other[2], case=replace(other[2].case, case="another"))
    others = [
        trainer_of(tmp_path, replace(recipe, alpha=0.2), seed=1),
        trainer_of(tmp_path, replace(recipe, augmentation=VARIED), seed=1),
        trainer_of(tmp_path, recipe, seed=2),
        trainer_of(tmp_path, recipe, seed=1, training=other),
        trainer_of(tmp_path, recipe, seed=1, validation=slices(4, name="w")),
    ]
    for trainer in others:
        with pytest.raises(InputError, match="another recipe, seed or cohort"):
            trainer.run(resume=True)
    trainer_of(tmp_path, recipe, seed=1).run(resume=True)


def scripted(tmp_path, qualities, **options):
    """Trainer whose validation gives these (accuracy, AUROC), and the weights of each epoch."""
    recipe = replace(RECIPE, epochs=len(qualities), constraint="none", **options)
    trainer = trainer_of(tmp_path, recipe)
    seen = []

    def validate():
        seen.append({n: t.clone() for n, t in trainer.averaged.items()})
        accuracy, area = qualities[len(seen) - 1]
        return {"validation_accuracy": accuracy, "validation_auroc": area}

    trainer._validate = validate
    return trainer, seen


@pytest.mark.parametrize(
    ("qualities", "best"),
    [
        ([(0.5, 0.5), (0.9, 0.5), (0.8, 0.9)], 2),
        ([(0.9, 0.5), (0.9, 0.6), (0.9, 0.55)], 2),
        ([(1.0, 1.0), (1.0, 1.0), (0.9, 1.0)], 2),  # a tie goes to the later epoch
        ([(1.0, 1.0), (0.5, 0.5), (0.5, 0.6)], 1),
    ],
)
def test_the_best_epoch_is_kept(tmp_path, qualities, best):
    trainer, seen = scripted(tmp_path, qualities)
    result = trainer.run()
    assert result.best_epoch == best
    for name, tensor in result.network.state_dict().items():
        assert torch.equal(tensor, seen[best - 1][name])
    assert not torch.equal(seen[0]["layers.0.weight"], seen[-1]["layers.0.weight"])
    assert not result.network.training


@pytest.mark.parametrize(
    ("qualities", "patience", "epochs"),
    [
        ([(0.9, 1), (0.8, 1), (0.8, 1), (1, 1), (1, 1)], 2, 3),
        ([(0.9, 1), (0.8, 1), (0.8, 1), (1, 1), (1, 1)], 3, 5),
        ([(0.9, 1), (0.8, 1), (0.8, 1), (0.7, 1), (0.7, 1)], 0, 5),
        ([(1, 1), (1, 1), (1, 1), (1, 1)], 1, 4),  # as good is good enough to go on
    ],
)
def test_patience(tmp_path, qualities, patience, epochs):
    trainer, _ = scripted(tmp_path, qualities, patience=patience)
    assert len(trainer.run().history) == epochs


def test_cosine_schedule(tmp_path):
    trainer = trainer_of(tmp_path, replace(RECIPE, epochs=4, learning_rate=2.0))
    rates = []
    for epoch in range(1, 5):
        trainer._set_learning_rate(epoch)
        rates.append(trainer.optimiser.param_groups[0]["lr"])
    expected = [1 + math.cos(math.pi * done / 4) for done in range(4)]
    assert rates == pytest.approx(expected)


def test_validation_sees_the_averaged_weights(tmp_path):
    """Validation figures are those of the weights that are kept."""
    recipe = replace(RECIPE, epochs=3, average=0.9)
    result = trainer_of(tmp_path, recipe).run()
    record = result.history[result.best_epoch - 1]
    x = torch.stack([torch.from_numpy(case.array[..., 0]) for case in slices(4, seed=1)])
    with torch.no_grad():
        logits = result.network(x).double()
    target = torch.tensor([0.0, 1, 0, 1], dtype=torch.float64)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
    assert record["validation_loss"] == pytest.approx(float(loss), rel=1e-5)
    assert record["validation_tpr"] == float((logits[1::2] > 0).double().mean())
    assert record["validation_tnr"] == float((logits[::2] <= 0).double().mean())
    tensors, _ = load_tensors(tmp_path / "last.safetensors")
    name = "layers.0.weight"
    assert not torch.equal(tensors[f"network.{name}"], tensors[f"averaged.{name}"])


def test_no_average_keeps_the_last_weights(tmp_path):
    trainer_of(tmp_path, replace(RECIPE, epochs=1)).run()
    tensors, _ = load_tensors(tmp_path / "last.safetensors")
    names = [n.removeprefix("network.") for n in tensors if n.startswith("network.")]
    assert names
    assert all(torch.equal(tensors[f"network.{n}"], tensors[f"averaged.{n}"]) for n in names)


def test_training_learns(tmp_path):
    history = trainer_of(tmp_path, replace(RECIPE, epochs=10, learning_rate=1e-2)).run().history
    assert history[-1]["train_classification"] < 0.8 * history[0]["train_classification"]
    assert history[-1]["validation_auroc"] == 1.0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_an_error(tmp_path, value, monkeypatch):
    def explode(self, network, batch, **options):
        total = network(batch.healthy).sum() * value
        return BatchLoss(total, {"loss": float(total.detach()), "classification": 3.0})

    monkeypatch.setattr(AttributionRecipe, "batch_loss", explode)
    with pytest.raises(InputError, match=r"the loss became .*smaller alpha or learning rate"):
        trainer_of(tmp_path).run()
    assert not (tmp_path / "last.safetensors").exists()


def test_events_come_in_order(tmp_path):
    events = []
    result = trainer_of(tmp_path, replace(RECIPE, epochs=2), on_event=events.append).run()
    # Three cases of each class, two a step.
    expected = [("step", 1), ("step", 1), ("epoch", 1), ("step", 2), ("step", 2), ("epoch", 2)]
    assert [(event["event"], event["epoch"]) for event in events] == expected
    steps = [event for event in events if event["event"] == "step"]
    assert [(event["step"], event["steps"]) for event in steps] == [(1, 2), (2, 2)] * 2
    epochs = [event for event in events if event["event"] == "epoch"]
    for number, event in enumerate(epochs):
        record = result.history[number]
        assert {key: event[key] for key in record} == record
        mean = np.mean([step["loss"] for step in steps[2 * number : 2 * number + 2]])
        assert event["train_loss"] == pytest.approx(mean)
        assert event["epochs"] == 2
    assert epochs[-1]["seconds_left"] == 0


def test_other_processes_do_not_speak(tmp_path):
    from AttribSegLib.training.distributed import Process

    events = []
    trainer = trainer_of(tmp_path, on_event=events.append, process=Process(1, 2))
    trainer.on_event({"event": "step"})
    assert events == []


def test_one_class_is_refused(tmp_path):
    healthy = [case for case in slices(8) if case.case.label == 0]
    with pytest.raises(InputError, match="validation split needs"):
        trainer_of(tmp_path, validation=healthy)
    with pytest.raises(InputError, match="one class is missing"):
        trainer_of(tmp_path, training=healthy)


def test_flips_run_from_left_to_right(tmp_path):
    """Also for volumes whose first axis does not."""
    recipe = replace(RECIPE, augmentation=replace(NO_AUGMENTATION, flip=1.0))
    grid = Geometry((11, 12, 13), direction=np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]))
    rng = np.random.default_rng(0)
    cases = [
        PreparedCase(
            Case(str(n), str(n), n % 2, "train", {}),
            rng.normal(size=(1, *grid.size)).astype(np.float32),
            np.ones(grid.size, dtype=bool),
            None,
            grid,
        )
        for n in range(4)
    ]
    trainer = trainer_of(tmp_path, recipe, training=cases, validation=cases)
    healthy = trainer.make_batch(1, 0, ([0], [1])).healthy
    np.testing.assert_array_equal(healthy[0].numpy(), np.flip(cases[0].array, 3))
