from collections import Counter

import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.training.batches import BalancedBatches
from hypothesis import given, settings
from hypothesis import strategies as st

quick = settings(max_examples=60, deadline=None)
LABELS = st.lists(st.integers(0, 1), min_size=2, max_size=40).filter(lambda x: len(set(x)) == 2)


@quick
@given(LABELS, st.integers(1, 6), st.integers(0, 5), st.integers(1, 3))
def test_balanced_and_complete(labels, half, seed, epoch):
    batches = BalancedBatches(labels, 2 * half, seed=seed)
    steps = list(batches.epoch(epoch))
    assert len(steps) == batches.steps
    for healthy, pathological in steps:
        assert len(healthy) == len(pathological) == half
        assert all(labels[i] == 0 for i in healthy)
        assert all(labels[i] == 1 for i in pathological)
    counts = [Counter(i for step in steps for i in step[label]) for label in (0, 1)]
    larger = max(labels.count(0), labels.count(1))
    for label in (0, 1):
        size = labels.count(label)
        # Every case as often as any other, but for what fills the last batch.
        assert len(counts[label]) == size
        assert max(counts[label].values()) - min(counts[label].values()) <= 1
        if size == larger:
            order = [i for step in steps for i in step[label]]
            assert len(set(order[:size])) == size
            assert len(order) - size < half


@quick
@given(LABELS, st.sampled_from([1, 2, 3]), st.integers(1, 4))
def test_ranks_partition_the_single_process_batch(labels, world, share):
    size = 2 * world * share
    alone = list(BalancedBatches(labels, size, seed=4).epoch(2))
    together = [
        list(BalancedBatches(labels, size, seed=4, rank=rank, world=world).epoch(2))
        for rank in range(world)
    ]
    for step, expected in enumerate(alone):
        for label in (0, 1):
            parts = [together[rank][step][label] for rank in range(world)]
            assert {len(part) for part in parts} == {share}
            # Rank r holds places r, r + world, ... of the whole batch.
            rebuilt = [part[place] for place in range(share) for part in parts]
            assert rebuilt == expected[label]


def test_an_order_depends_on_seed_and_epoch_and_on_nothing_else():
    labels = [0, 1] * 10

    def orders(seed, epoch):
        return list(BalancedBatches(labels, 4, seed=seed).epoch(epoch))

    assert orders(1, 1) == orders(1, 1)
    assert orders(1, 1) != orders(1, 2)
    assert orders(1, 1) != orders(2, 1)
    batches = BalancedBatches(labels, 4, seed=1)
    list(batches.epoch(1))
    assert list(batches.epoch(2)) == orders(1, 2)


@pytest.mark.parametrize("labels", [[0, 0], [1, 1], []])
def test_a_missing_class_is_refused(labels):
    with pytest.raises(InputError, match="one class is missing"):
        BalancedBatches(labels, 2, seed=0)


@pytest.mark.parametrize(("size", "world"), [(0, 1), (3, 1), (-2, 1), (2, 2), (6, 2)])
def test_a_batch_that_cannot_be_shared_is_refused(size, world):
    with pytest.raises(InputError, match=f"batch size {size}.*{2 * world}"):
        BalancedBatches([0, 1], size, seed=0, world=world)


def test_a_negative_seed_is_refused():
    with pytest.raises(InputError, match="seed -1"):
        BalancedBatches([0, 1], 2, seed=-1)
