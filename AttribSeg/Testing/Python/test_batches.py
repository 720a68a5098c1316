import math
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


@quick
@given(LABELS, st.integers(1, 6), st.floats(0, 1), st.data())
def test_preferred_cases_have_their_share_of_every_batch(labels, half, share, data):
    pathological = [i for i, label in enumerate(labels) if label]
    preferred = set(data.draw(st.lists(st.sampled_from(pathological), min_size=1)))
    batches = BalancedBatches(labels, 2 * half, seed=3, preferred=preferred, share=share)
    plain = BalancedBatches(labels, 2 * half, seed=3)
    steps = list(batches.epoch(2))
    if len(preferred) >= share * len(pathological):
        assert steps == list(plain.epoch(2))
        return
    places = math.ceil(share * half)
    counts = Counter()
    for healthy, chosen in steps:
        assert len(healthy) == len(chosen) == half
        assert sum(case in preferred for case in chosen) == places
        counts.update(chosen)
    # Cases of a kind come equally often.
    for kind in (preferred, set(pathological) - preferred if places < half else set()):
        seen = [counts[case] for case in kind]
        assert not seen or max(seen) - min(seen) <= 1


def test_all_preferred_is_a_table_without_the_others():
    labels = [0, 1, 1, 0, 1, 1, 0, 1, 1]
    preferred = [2, 4, 7]
    kept = [0, 2, 3, 4, 6, 7]
    whole = BalancedBatches(labels, 4, seed=5, preferred=preferred, share=1.0)
    without = BalancedBatches([labels[i] for i in kept], 4, seed=5)
    assert whole.steps == without.steps
    for epoch in (1, 2):
        translated = [tuple([kept[i] for i in h] for h in step) for step in without.epoch(epoch)]
        assert list(whole.epoch(epoch)) == translated


def test_ranks_share_the_preferred_cases():
    labels = [0] * 12 + [1] * 12
    options = {"seed": 1, "preferred": [12, 13], "share": 0.5}
    alone = list(BalancedBatches(labels, 8, **options).epoch(1))
    for rank in range(2):
        mine = BalancedBatches(labels, 8, rank=rank, world=2, **options).epoch(1)
        for (_, chosen), (_, everything) in zip(mine, alone, strict=True):
            assert chosen == everything[rank::2]
            assert sum(case in (12, 13) for case in chosen) == 1
