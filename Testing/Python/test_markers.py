"""The simulated cells of the study chapter6-accuracy."""

import sys
from pathlib import Path

import numpy as np
import pytest
from AttribSegLib.errors import InputError

STUDY = Path(__file__).resolve().parents[1] / "Evidence" / "chapter6-accuracy"
sys.path.insert(0, str(STUDY))
from markers import (  # noqa: E402
    COFACTOR,
    LEVELS,
    LINEAGES,
    LOST,
    MARKERS,
    POPULATIONS,
    SPREAD,
    Cytometry,
    draw_cytometry,
)


def test_signatures_differ_and_populations_of_a_lineage_are_close():
    mixture = draw_cytometry(np.random.default_rng(5))
    assert mixture.medians.shape == (POPULATIONS, MARKERS)
    assert mixture.shares.sum() == pytest.approx(1)
    assert mixture.shares.max() > 5 * mixture.shares.min() > 0
    levels = np.log(LEVELS)
    signature = np.abs(mixture.medians[:, :, None] - levels).argmin(axis=2)
    assert len(np.unique(signature, axis=0)) == POPULATIONS
    lineage = np.arange(POPULATIONS) % LINEAGES
    distance = np.abs(signature[:, None] - signature[None]).sum(axis=2)
    same = lineage[:, None] == lineage[None]
    assert distance[same].max() <= 4
    assert distance[~same].mean() > distance[same].mean() + 3


def test_samples_have_the_stated_shares_medians_and_heavy_tails():
    generator = np.random.default_rng(6)
    medians = np.log(np.array([[50.0, 50.0], [0.5, 5.0]]))
    mixture = Cytometry(medians, np.array([0.8, 0.2]))
    cells, population = mixture.sample(40_000, generator)
    assert (cells >= 0).all()
    assert np.mean(population == 0) == pytest.approx(0.8, abs=0.01)
    signal = COFACTOR * np.sinh(cells)
    bright = signal[population == 0][:, 0]
    # Of a lost signal next to nothing lies above 5, which is 2.3 spreads above the background.
    assert np.mean(bright < 5) == pytest.approx(LOST, abs=0.02)
    kept = np.log(bright[bright > 5])
    assert np.median(kept) == pytest.approx(np.log(50), abs=0.05)
    assert np.std(kept) == pytest.approx(SPREAD, rel=0.05)
    assert bright.mean() > 1.4 * np.median(bright)


def test_best_guess_is_right_as_often_as_two_normals_allow():
    from scipy.stats import norm

    # Populations that differ in one marker; the other says nothing.
    medians = np.array([[1.0, 0.0], [3.0, 0.0]])
    mixture = Cytometry(medians, np.array([0.5, 0.5]))
    cells, population = mixture.sample(60_000, np.random.default_rng(7))
    right = np.mean(mixture.best_guess(cells) == population)
    clear = norm.cdf(1.0 / SPREAD)
    # A lost signal is guessed at best by chance; where it lies it looks like the lower one.
    assert (1 - LOST) * clear + LOST * 0.5 == pytest.approx(right, abs=0.01)


def test_a_rare_population_is_guessed_less_readily():
    cells = np.arcsinh(np.exp([[2.0]]) / COFACTOR)
    medians = np.array([[1.0], [3.0]])
    assert Cytometry(medians, np.array([0.9, 0.1])).best_guess(cells).tolist() == [0]
    assert Cytometry(medians, np.array([0.1, 0.9])).best_guess(cells).tolist() == [1]


def test_a_seed_gives_the_same_cells_and_no_cells_are_refused():
    drawn = [draw_cytometry(np.random.default_rng(seed)) for seed in (8, 8, 9)]
    cells = [each.sample(50, np.random.default_rng(0))[0] for each in drawn]
    np.testing.assert_array_equal(cells[0], cells[1])
    assert not np.array_equal(cells[0], cells[2])
    with pytest.raises(InputError, match="count 0"):
        drawn[0].sample(0, np.random.default_rng(0))
