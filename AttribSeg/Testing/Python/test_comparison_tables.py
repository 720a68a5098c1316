import csv
import io
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from AttribSegLib.comparison.attribution_tables import constrained_map
from AttribSegLib.comparison.results import (
    CASE_METRICS,
    Comparison,
    RunResult,
    ScoredMap,
    SweepPoint,
)
from AttribSegLib.comparison.tables import (
    Table,
    auprc_table,
    budget_table,
    comparison_tables,
    correlation_table,
    image_table,
    main_table,
    permutation_table,
    pooled_table,
    processed_table,
    sweep_table,
)
from AttribSegLib.metrics.permutation import paired_permutation_test

NAN = float("nan")
CASES, PATIENTS = ["c1", "c2", "c3", "c4"], ["p1", "p1", "p2", "p3"]


def scored(name, rule="none", *, dice, auprc=0.5, tuned=NAN, processing="raw"):
    per_case = {metric: [0.5] * len(CASES) for metric in CASE_METRICS}
    per_case |= {"dice": list(dice), "tuned_dice": [tuned] * len(CASES)}
    return ScoredMap(
        name,
        rule,
        processing,
        per_case,
        {"auprc": auprc, "dice": 0.25, "auroc": 0.75},
        {"auprc": auprc / 2},
    )


def make_run(
    entry, seed, kind, maps, *, constraint="", attribution="", auroc=NAN, correlations=None
):
    return RunResult(
        entry=entry,
        seed=seed,
        kind=kind,
        constraint=constraint,
        attribution=attribution,
        primary=maps[0].name,
        budget={} if kind == "intensity" else {"minutes": 10.0 + seed, "weights": 1_234_567},
        image={} if kind == "intensity" else {"auroc": auroc, "true_positive_rate": 1.0},
        cases=CASES,
        patients=PATIENTS,
        maps=maps,
        correlations=correlations or {},
    )


def make_comparison():
    flair = [
        scored("FLAIR", dice=(0.1, 0.1, 0.2, 0.2), auprc=0.3),
        scored("FLAIR", "labels", dice=(0.3,) * 4, processing="smoothed"),
    ]
    runs = [make_run("intensity", 0, "intensity", flair)]
    for seed, dice in enumerate([(0.2, 0.4, 0.6, 0.8), (0.4, 0.4, 0.8, NAN)]):
        maps = [
            scored("gradient", dice=dice, auprc=0.6 + 0.2 * seed, tuned=0.7),
            scored("integrated_gradients", dice=dice, auprc=0.4),
            scored("gradient", "masks", dice=(0.9,) * 4, processing=f"way {seed}"),
            scored("gradient", "labels", dice=(0.8,) * 4, processing="smoothed"),
        ]
        found = {
            "gradient": {"gradient": 1.0, "integrated_gradients": 0.2},
            "integrated_gradients": {"gradient": 0.2 + 0.2 * seed, "integrated_gradients": 1.0},
        }
        runs.append(
            make_run(
                "unsup",
                seed,
                "classifier",
                maps,
                constraint="unsup",
                attribution="integrated_gradients",
                auroc=0.8 + 0.1 * seed,
                correlations=found,
            )
        )
    for seed in (0, 1):
        maps = [scored("residual", dice=(0.1, 0.2, 0.3, 0.4))]
        runs.append(make_run("a|b", seed, "baseline", maps, auroc=0.6))
    counts = {"cases": 9, "healthy": 5, "pathological": 4, "patients": 7, "masked": 4}
    return Comparison("t", "d", "test", counts, 0.0213, False, runs, "unsup")


@pytest.fixture(scope="module")
def comparison():
    return make_comparison()


def cell(table, row, column):
    (line,) = (each for each in table.rows if each[0] == row)
    return line[table.head.index(column)]


def test_seeds_are_averaged_per_case_before_the_spread_over_cases(comparison):
    table = main_table(comparison)
    values = [0.3, 0.4, 0.7, 0.8]  # the last case is undefined in one seed
    expected = f"{np.mean(values):.3f} +- {np.std(values, ddof=1):.3f}"
    assert cell(table, "unsup", "Dice (label-only threshold)") == expected
    pooled = f"{0.7:.3f} +- {np.std([0.6, 0.8], ddof=1):.3f}"
    assert cell(table, "unsup", "AUPRC, pooled") == pooled
    assert cell(table, "intensity", "AUPRC, pooled") == "0.300"
    assert cell(table, "intensity", "Seeds") == "1"
    assert cell(table, "unsup", "Dice (mask-tuned on validation)") == "0.700 +- 0.000"
    assert cell(table, "intensity", "Dice (mask-tuned on validation)") == "-"
    assert [row[:2] for row in table.rows] == [
        ["intensity", "FLAIR"],
        ["unsup", "gradient"],
        ["a|b", "residual"],
    ]


def test_undefined_cases_are_counted():
    comparison = make_comparison()
    comparison.runs[0].maps[0].per_case["hausdorff95_mm"][:] = [NAN, math.inf, 2.0, 4.0]
    text = cell(main_table(comparison), "intensity", "Hausdorff 95 % (mm)")
    assert text == "3.000 +- 1.414 (2 of 4 cases)"


def test_no_millimetres_on_nominal_grids(comparison):
    assert any("mm" in name for name in main_table(comparison).head)
    table = main_table(replace(comparison, nominal=True))
    assert not any("mm" in name for name in table.head)
    assert "Hausdorff" not in table.legend


def test_what_masks_had_a_part_in_is_named(comparison):
    table = main_table(comparison)
    assert "Oracle Dice (upper bound)" in table.head
    assert "upper bound, not a result" in table.legend
    assert "2.130%" in table.legend


def test_pooled_table_has_the_healthy_cases_apart(comparison):
    table = pooled_table(comparison)
    assert cell(table, "unsup", "AUPRC, healthy too") == "0.350 +- 0.071"
    assert cell(table, "unsup", "AUROC10, healthy too") == "-"
    assert cell(table, "unsup", "Dice (label-only threshold)") == "0.250 +- 0.000"


def test_images(comparison):
    table = image_table(comparison)
    assert cell(table, "unsup", "AUROC") == f"0.850 +- {np.std([0.8, 0.9], ddof=1):.3f}"
    assert cell(table, "unsup", "TNR") == "-"
    assert table.rows[0][2:] == ["-"] * 4


def test_processed_tables_tell_the_processing_and_have_the_intensity_too(comparison):
    labels = processed_table(comparison, "labels")
    assert [row[:3] for row in labels.rows] == [
        ["intensity", "FLAIR", "smoothed"],
        ["unsup", "gradient", "smoothed"],
    ]
    assert cell(labels, "unsup", "Dice (label-only threshold)") == "0.800 +- 0.000"
    masks = processed_table(comparison, "masks")
    assert "mask-tuned" in masks.title
    assert masks.rows[0][2] == "way 0 (1 of 2 seeds); way 1 (1 of 2 seeds)"


def test_permutation_tests_pair_cases_group_patients_and_correct(comparison):
    table = permutation_table(comparison)
    # Four comparisons can be made: no one but the reference has a mask-tuned Dice.
    assert [row[:2] for row in table.rows] == [
        [entry, metric]
        for entry in ("intensity", "a|b")
        for metric in ("AUPRC", "Dice (label-only threshold)")
    ]
    ours, theirs = [0.3, 0.4, 0.7, 0.8], [0.1, 0.1, 0.2, 0.2]
    expected = paired_permutation_test(ours, theirs, PATIENTS)
    assert table.rows[1][2:4] == [f"{(0.25 + 0.5 + 0.6) / 3:+.3f}", "3"]
    assert float(table.rows[1][4]) == pytest.approx(expected.p) == 0.25
    assert table.rows[1][5] == "1"
    assert "4 comparisons" in table.legend
    assert permutation_table(replace(comparison, reference="none of them")) is None


def test_cases_are_paired_by_name_not_by_place():
    comparison = make_comparison()
    plain = comparison.runs[0]
    turned = replace(
        plain,
        cases=CASES[::-1],
        patients=PATIENTS[::-1],
        maps=[replace(m, per_case={k: v[::-1] for k, v in m.per_case.items()}) for m in plain.maps],
    )
    other = replace(comparison, runs=[turned, *comparison.runs[1:]])
    assert permutation_table(other).rows == permutation_table(comparison).rows


def test_correlations_start_from_the_constrained_attribution(comparison):
    table = correlation_table(comparison)
    (row,) = table.rows
    assert row[:4] == ["unsup", "unsup", "integrated_gradients", "integrated_gradients"]
    assert cell(table, "unsup", "gradient") == f"0.300 +- {np.std([0.2, 0.4], ddof=1):.3f}"
    assert cell(table, "unsup", "integrated_gradients") == "1.000 +- 0.000"
    run = comparison.runs_of("unsup")[0]
    assert constrained_map(replace(run, constraint="none")) == "gradient"
    # Known in training only: the map that stands for the run instead.
    assert constrained_map(replace(run, attribution="integrated_expected_gradients")) == "gradient"


def test_auprc_by_attribution(comparison):
    table = auprc_table(comparison)
    assert table.head[3:] == ["gradient", "integrated_gradients"]
    assert table.rows[0][3:] == ["0.700 +- 0.141", "0.400 +- 0.000"]


def test_budget(comparison):
    table = budget_table(comparison)
    assert [row[0] for row in table.rows] == ["unsup", "a|b"]
    assert cell(table, "unsup", "Minutes") == "10.5"
    assert cell(table, "unsup", "Weights") == "1234567"
    assert cell(table, "unsup", "Epochs") == "-"


def test_sweep_has_a_row_per_resolution_and_alpha():
    points = [
        SweepPoint(resolution, alpha, seed, 1.0, 0.5 + 0.1 * seed, 0.9, 0.4, NAN, alpha)
        for resolution in ("2 mm", "1 mm")
        for alpha in (0.5, 0.1)
        for seed in (0, 1)
    ]
    table = sweep_table(points)
    expected = [[r, a, "2"] for r in ("2 mm", "1 mm") for a in ("0.1", "0.5")]
    assert [row[:3] for row in table.rows] == expected
    assert table.rows[0][table.head.index("TNR")] == "0.550 +- 0.071"
    assert table.rows[0][table.head.index("Dice (mask-tuned on validation)")] == "-"


def test_order_and_absence(comparison):
    keys = list(comparison_tables(comparison))
    assert keys[0] == "main"
    assert keys.index("processed_labels") < keys.index("processed_masks")
    assert all(keys.index(key) < keys.index("processed_labels") for key in ("main", "pooled"))
    assert "sweep" not in keys
    bare = [replace(run, cases=[], patients=[], maps=[]) for run in comparison.runs]
    without = comparison_tables(replace(comparison, runs=bare))
    assert list(without) == ["images", "correlations", "budget"]


def test_every_table_is_rectangular_and_its_csv_parses_back(comparison):
    for table in comparison_tables(comparison).values():
        parsed = list(csv.reader(io.StringIO(table.csv())))
        assert parsed == [table.head, *table.rows]
        assert {len(row) for row in parsed} == {len(table.head)}


def test_markdown_escapes_names():
    table = Table("A *title*", ["a", "b"], [["x|y", "<b>_q_\nz"]], "Legend & more.")
    lines = table.markdown().splitlines()
    assert lines[0] == r"## A \*title\*"
    assert r"x\|y" in lines[4]
    assert r"\<b\>\_q\_ z" in lines[4]
    assert len(re.findall(r"(?<!\\)\|", lines[4])) == 3
    assert lines[-1] == r"Legend \& more."
    assert "unsup_tv" in Table("", ["unsup_tv"], [], "").markdown()
