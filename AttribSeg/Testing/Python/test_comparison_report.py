import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from AttribSegLib.comparison.report import cases_table, write_comparison
from AttribSegLib.comparison.results import (
    CASE_METRICS,
    POOLED_METRICS,
    Comparison,
    Example,
    RunResult,
    ScoredMap,
    SweepPoint,
)
from AttribSegLib.errors import OutputError

NASTY = "a|b <i>*c*</i> $x$ & y"
SIZE = (40, 48)
MAPS = ("gradient", "integrated_gradients", "expected_gradients")
CASES = [f"case{k}" for k in range(6)]
ENTRIES = {
    "intensity": ("intensity", "", "", 0.4),
    "unsup_gradient": ("classifier", "unsup", "gradient", 1.6),
    NASTY: ("classifier", "none", "", 0.9),
    "autoencoder": ("baseline", "", "", 0.5),
}


def disc(centre, radius):
    i, j = np.indices(SIZE)
    return ((i - centre[0]) ** 2 + (j - centre[1]) ** 2) < radius**2


def scores(strength, seed):
    """Scores of brain voxels, their truth, and the brain and lesions they come from."""
    rng = np.random.default_rng(seed)
    brain, lesions = disc((20, 24), 17), disc((27, 18), 4)
    return rng.normal(size=SIZE) * brain + strength * lesions, lesions, brain


def curve_of(values, truth):
    order = np.argsort(-values)
    found = np.cumsum(truth[order])
    count = np.arange(1, truth.size + 1)
    return {
        "selected": list(count / truth.size),
        "dice": list(2 * found / (count + truth.sum())),
    }


def histogram_of(values, truth, scale):
    edges = np.linspace(values.min(), values.max(), 31)
    parts = {"healthy": values[~truth] * 0.8, "lesion": values[truth], "rest": values[~truth]}
    content = {k: list(np.histogram(v, edges, density=True)[0] / scale) for k, v in parts.items()}
    return {"edges": list(edges * scale), **content}


def scored_map(name, rule, strength, seed, *, scale=1.0):
    rng = np.random.default_rng(seed + 100)
    values, lesions, brain = scores(strength, seed)
    values, truth = values[brain], lesions[brain]
    level = min(0.9, 0.3 * strength)
    return ScoredMap(
        name=name,
        rule=rule,
        processing="raw" if rule == "none" else f"smoothed by {seed % 2 + 1} mm, positive part",
        per_case={m: list(level + 0.1 * rng.random(len(CASES))) for m in CASE_METRICS},
        pooled=dict.fromkeys(POOLED_METRICS, level + 0.01 * seed),
        all_cases=dict.fromkeys(("auprc", "auroc", "auroc10"), level / 2),
        threshold=2.0 * scale,
        tuned_threshold=2.2 * scale,
        curve=curve_of(values, truth),
        histogram=histogram_of(values, truth, scale),
    )


def make_run(entry, seed, *, entries=ENTRIES, masks=True, rules=("none", "labels", "masks")):
    kind, constraint, attribution, strength = entries[entry]
    names = MAPS if kind == "classifier" else ["FLAIR" if kind == "intensity" else "residual"]
    maps = []
    for rule in rules:
        for place, name in enumerate(names if rule == "none" else names[:1]):
            level = strength * (1 - 0.2 * place) + 0.3 * rules.index(rule)
            scale = 3e-6 if kind == "classifier" else 1.0
            maps.append(scored_map(name, rule, level, seed + place, scale=scale))
    classifies = kind != "intensity"
    return RunResult(
        entry=entry,
        seed=seed,
        kind=kind,
        constraint=constraint,
        attribution=attribution,
        primary=names[0],
        budget={"minutes": 5.0, "epochs": 40, "best_epoch": 31, "width": 16, "weights": 123456}
        if classifies
        else {},
        image={
            "auroc": 0.9,
            "true_positive_rate": 0.8,
            "true_negative_rate": 0.7,
            "class_weighted_accuracy": 0.75,
        }
        if classifies
        else {},
        cases=CASES if masks else [],
        patients=[f"p{k // 2}" for k in range(len(CASES))] if masks else [],
        maps=maps if masks else [],
        correlations={a: {b: 1.0 if a == b else 0.4 for b in names} for a in names}
        if kind == "classifier"
        else {},
    )


def make_example(case, seed, entries=ENTRIES):
    rng = np.random.default_rng(seed)
    brain, lesions = disc((20, 24), 17), disc((27, 14 + 6 * seed), 4 + seed)
    image = (brain * (2 + 0.3 * rng.normal(size=SIZE)) + 2 * lesions).astype(np.float32)
    maps = {
        entry: (rng.normal(size=SIZE) * brain + (2 + strength) * lesions).astype(np.float32)
        for entry, (*_, strength) in entries.items()
    }
    maps["intensity"] = image
    return Example(case, image, lesions, brain, maps, dict.fromkeys(maps, 2.0))


def make_comparison(*, entries=ENTRIES, masks=True, sweep=True, examples=2):
    runs = [
        make_run(entry, seed, entries=entries, masks=masks)
        for entry in entries
        for seed in ((0,) if entry == "intensity" else (0, 1))
    ]
    points = [
        SweepPoint(f"{mm} mm", alpha, seed, 0.9, 0.95 - 0.1 * alpha, 0.9, 0.4, 0.5, 0.3 + 0.2 * mm)
        for mm in (1, 2)
        for alpha in (0.01, 0.1, 1.0)
        for seed in (0, 1)
    ]
    return Comparison(
        title="Recipes <compared> | here",
        description="What <b>was</b> done & why.",
        split="test",
        counts={"cases": 12, "healthy": 6, "pathological": 6, "patients": 9, "masked": 6 * masks},
        prevalence=0.03,
        nominal=False,
        runs=runs,
        reference="unsup_gradient",
        sweep=points if sweep else [],
        examples=[make_example(f"{CASES[k]}", k, entries) for k in range(examples * masks)],
        notes=["A note on *stars*."],
    )


class Page(HTMLParser):
    """What a page holds: tags, links and text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text, self.cells = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag in ("td", "th", "h1", "h2"):
            self.cells.append("")

    def handle_data(self, data):
        self.text.append(data)
        if self.cells:
            self.cells[-1] += data


@pytest.fixture(scope="module")
def comparison():
    return make_comparison()


@pytest.fixture(scope="module")
def written(comparison, tmp_path_factory):
    return write_comparison(comparison, tmp_path_factory.mktemp("report") / "new")


def picture(path):
    from matplotlib.image import imread

    return imread(path)[..., :3]


def test_every_file_exists_and_nothing_else(written):
    folder = written["page"].parent
    assert {path.name for path in folder.iterdir()} == {path.name for path in written.values()}
    assert {key for key in written if key.startswith("figure_")} == {
        f"figure_{name}"
        for name in ("dice", "examples", "auprc", "dice_by_map", "histograms", "sweep")
    }
    tables = ("main", "tests", "pooled", "images", "auprc", "correlations", "processed_labels")
    assert {f"table_{name}" for name in (*tables, "processed_masks", "sweep", "budget")} == {
        key for key in written if key.startswith("table_")
    }


def test_figures_show_something(written):
    for key, path in written.items():
        if key.startswith("figure_"):
            pixels = picture(path)
            assert min(pixels.shape[:2]) > 250, key
            colours = np.unique((pixels.reshape(-1, 3) * 15).astype(int), axis=0)
            assert len(colours) > 20, key
            assert (pixels.std(axis=2) > 0.1).mean() > 0.01 or key == "figure_sweep", key


def test_examples_put_the_left_of_the_patient_on_the_right(tmp_path):
    """A lesion towards left (large I) and anterior (small J) lies right and up in the picture."""
    from AttribSegLib.comparison.panel import draw_examples

    comparison = make_comparison(examples=1)
    whole = np.ones(SIZE, bool)
    square = np.zeros(SIZE, bool)
    square[28:36, 6:14] = True
    image = np.where(square, 1.0, 0.0).astype(np.float32)
    example = Example("c", image, ~whole, whole, {}, {})
    comparison.examples[:] = [example]
    draw_examples(comparison, tmp_path / "x.png")
    pixels = picture(tmp_path / "x.png")
    rows, columns = np.nonzero(pixels.min(axis=2) > 0.97)
    grey = np.nonzero(pixels.max(axis=2) < 0.005)
    assert rows.mean() < grey[0].mean()
    assert columns.mean() > grey[1].mean()


def test_cases_csv_has_every_value(written, comparison):
    with written["cases"].open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == sum(len(run.maps) * len(run.cases) for run in comparison.runs)
    for run in comparison.runs:
        for each in run.maps:
            for index, case in enumerate(run.cases):
                (row,) = (
                    r
                    for r in rows
                    if (r["entry"], int(r["seed"]), r["map"], r["rule"], r["case"])
                    == (run.entry, run.seed, each.name, each.rule, case)
                )
                assert row["patient"] == run.patients[index]
                for metric in CASE_METRICS:
                    assert float(row[metric]) == each.per_case[metric][index]


def test_undefined_values_are_empty_in_cases_csv():
    run = make_run("autoencoder", 0)
    run.maps[0].per_case["dice"][2] = float("nan")
    run.maps[0].per_case["hausdorff95_mm"][2] = float("inf")
    run.maps[0].per_case.pop("auprc")
    text = cases_table(Comparison("", "", "", {}, 0.1, False, [run], ""))
    row = list(csv.DictReader(text.splitlines()))[2]
    assert (row["dice"], row["hausdorff95_mm"], row["auprc"]) == ("", "", "")
    assert float(row["auroc"]) == run.maps[0].per_case["auroc"][2]


def test_json_gives_the_runs_back_without_pictures(written, comparison):
    content = json.loads(written["json"].read_text(encoding="utf-8"))
    assert [RunResult.from_dict(each) for each in content["runs"]] == comparison.runs
    assert content["examples"] == ["case0", "case1"]
    assert [SweepPoint(**each) for each in content["sweep"]] == comparison.sweep
    assert content["reference"] == "unsup_gradient"


def test_markdown_has_raw_maps_first_and_links_that_exist(written):
    text = written["markdown"].read_text(encoding="utf-8")
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert heads[0] == "Raw maps"
    labels = heads.index("Post-processed maps, chosen by labels alone")
    masks = heads.index("Post-processed maps, mask-tuned on validation")
    assert heads.index("Raw maps, pooled over voxels") < labels < masks
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) == 16
    assert all((written["markdown"].parent / link).is_file() for link in links)


def test_names_are_escaped_in_markdown(written):
    text = written["markdown"].read_text(encoding="utf-8")
    assert r"a\|b \<i\>\*c\*\</i\> \$x\$ \& y" in text
    assert "<b>" not in text.replace(r"\<b\>", "")
    assert r"A note on \*stars\*." in text
    for line in text.splitlines():
        if line.startswith("|"):
            last = len(re.findall(r"(?<!\\)\|", line))
        elif not line:
            last = None
        if line.startswith("|") and last is not None:
            assert len(re.findall(r"(?<!\\)\|", line)) == last


def test_page_is_self_contained_and_escaped(written):
    page = Page(written["page"].read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert "i" not in page.tags
    assert "b" not in page.tags
    assert page.cells[0].startswith("Recipes <compared> | here")
    assert any(cell.startswith(NASTY) for cell in page.cells)
    assert page.tags.count("img") == 6
    for link in page.links:
        assert "://" not in link
        if not link.startswith("#"):
            assert (written["page"].parent / link).is_file()
        else:
            assert f'id="{link[1:]}"' in written["page"].read_text(encoding="utf-8")


def test_page_and_csv_hold_the_same_cells(written):
    page = Page(written["page"].read_text(encoding="utf-8"))
    cells = {cell.split("\n")[0] for cell in page.cells}
    with written["table_main"].open(encoding="utf-8", newline="") as stream:
        for row in csv.reader(stream):
            assert {cell.replace(" +- ", " ± ") for cell in row} <= cells


def test_without_sweep_or_examples_nothing_of_them_is_left(tmp_path):
    paths = write_comparison(make_comparison(sweep=False, examples=0), tmp_path)
    assert not {"figure_sweep", "table_sweep", "figure_examples"} & set(paths)
    assert "sweep" not in paths["page"].read_text(encoding="utf-8")


def test_without_masks_images_and_budget_remain_with_a_note(tmp_path):
    paths = write_comparison(make_comparison(masks=False, sweep=False), tmp_path)
    assert set(paths) == {
        *("markdown", "page", "cases", "json"),
        *("table_images", "table_correlations", "table_budget"),
    }
    for key in ("markdown", "page"):
        assert "No test case has a lesion mask" in paths[key].read_text(encoding="utf-8")
    assert len(paths["cases"].read_text(encoding="utf-8").splitlines()) == 1


def test_a_file_in_the_way_is_told(tmp_path, comparison):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="folder was expected"):
        write_comparison(comparison, tmp_path / "file")
