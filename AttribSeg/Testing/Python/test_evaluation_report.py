import csv
import json
from pathlib import Path

import numpy as np
import pytest
from AttribSegLib.errors import OutputError
from AttribSegLib.evaluation import ALL_CASES, PATHOLOGICAL, EvaluatedCase, Summary, evaluate
from AttribSegLib.evaluation_curves import curves_table
from AttribSegLib.evaluation_report import _summary as summary_text
from AttribSegLib.evaluation_report import (
    cases_table,
    markdown_table,
    number,
    report,
    write_evaluation,
)
from AttribSegLib.image import Geometry
from AttribSegLib.thresholds import Threshold

SIZE = (8, 8, 8)
THRESHOLDS = {
    "attribution": Threshold(
        1e-6, "healthy-false-positive-volume", {"allowed_ml": 2.0}, "12 healthy validation images"
    ),
    "FLAIR|x": Threshold(1.5, "precision-recall", {}, "8 validation images with masks"),
}


def make_cases(*, nominal=False, mask=True, labels=(0, 1) * 4):
    cases = []
    for index, label in enumerate(labels):
        rng = np.random.default_rng(index)
        lesions = np.zeros(SIZE, bool)
        lesions[2:5, 2:5, 2:5] = bool(label)
        scores = rng.normal(size=SIZE) + 2 * lesions
        logit = float(rng.normal() + 2 * label - 1)
        cases.append(
            EvaluatedCase(
                f"c{index}",
                f"p{index}",
                label,
                float(1 / (1 + np.exp(-logit))),
                logit,
                {"attribution": scores * 1e-6, "FLAIR|x": scores},
                np.ones(SIZE, bool),
                lesions if mask and label else None,
                Geometry(size=SIZE, nominal=nominal),
            )
        )
    return cases


def make_evaluation(*, split="test", **options):
    return evaluate(make_cases(**options), thresholds=THRESHOLDS, split=split)


@pytest.fixture(scope="module")
def evaluation():
    return make_evaluation()


def write(evaluation, out):
    return write_evaluation(evaluation, out, title="A title", description="What it is.")


def tables(text):
    """Cells of each Markdown table, split at unescaped bars."""
    found, current = [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            cells = line.replace("\\|", "\0").strip("|").split("|")
            current.append([cell.strip().replace("\0", "|") for cell in cells])
        elif current:
            found.append(current)
            current = []
    return found


def test_all_files_are_written_and_nothing_else(evaluation, tmp_path):
    paths = write(evaluation, tmp_path / "new" / "folder")
    assert sorted(paths) == ["cases", "curve_points", "curves", "json", "markdown"]
    names = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert names == ["cases.csv", "curves.csv", "curves.png", "evaluation.json", "evaluation.md"]
    assert paths["curves"].read_bytes().startswith(b"\x89PNG")


def test_cases_csv_reads_back(evaluation):
    lines = list(csv.DictReader(cases_table(evaluation.rows).splitlines()))
    assert len(lines) == len(evaluation.rows) == 16
    for line, row in zip(lines, evaluation.rows, strict=True):
        assert (line["case"], line["map"], int(line["label"])) == (row.case, row.map, row.label)
        assert float(line["dice"]) == row.dice
        if row.label:
            assert float(line["auroc"]) == row.auroc
        else:
            assert line["auroc"] == ""


def curve_points(evaluation):
    """Points by curve, population and map."""
    found = {}
    for row in csv.DictReader(curves_table(evaluation).splitlines()):
        key = (row["curve"], row["population"], row["map"])
        cut = float(row["threshold"]) if row["threshold"] else None
        found.setdefault(key, []).append((float(row["x"]), float(row["y"]), cut))
    return found


def test_points_of_curves_are_what_their_thresholds_give(evaluation):
    """Against counting the voxels of the cases, the population without healthy ones and with."""
    cases = make_cases()
    points = curve_points(evaluation)
    populations = {
        PATHOLOGICAL: [case for case in cases if case.label],
        ALL_CASES: cases,
    }
    assert {key[:2] for key in points} == {("roc", "images")} | {
        (curve, name) for curve in ("roc", "precision-recall", "dice") for name in populations
    }
    for name, chosen in populations.items():
        truth = np.concatenate(
            [(np.zeros(SIZE, bool) if c.lesions is None else c.lesions).ravel() for c in chosen]
        )
        for of in ("attribution", "FLAIR|x"):
            scores = np.concatenate([case.maps[of].ravel() for case in chosen]).astype(np.float32)
            roc = points["roc", name, of]
            assert roc[0] == (0.0, 0.0, None)
            assert roc[-1] == (1.0, 1.0, None)
            drawn = {
                "roc": (
                    roc[1:-1],
                    lambda m, t: ((m & ~t).sum() / (~t).sum(), (m & t).sum() / t.sum()),
                ),
                "precision-recall": (
                    points["precision-recall", name, of],
                    lambda m, t: ((m & t).sum() / t.sum(), (m & t).sum() / m.sum()),
                ),
                "dice": (
                    points["dice", name, of],
                    lambda m, t: (m.mean(), 2 * (m & t).sum() / (m.sum() + t.sum())),
                ),
            }
            for found, expected in drawn.values():
                assert 20 < len(found) <= 200
                for x, y, cut in found:
                    assert (x, y) == pytest.approx(expected(scores > cut, truth), abs=1e-12)


def test_the_area_under_the_points_is_the_figure_s(evaluation):
    points = np.array([row[:2] for row in curve_points(evaluation)["roc", "images", ""]])
    area = np.diff(points[:, 0]) @ (points[1:, 1] + points[:-1, 1]) / 2
    assert area == pytest.approx(evaluation.image["auroc"].value)


def test_long_curves_are_thinned_and_keep_their_ends():
    evaluation = make_evaluation(labels=(0, 1) * 150, mask=False)
    assert len(evaluation.image_roc[0]) > 250
    found = curve_points(evaluation)
    assert list(found) == [("roc", "images", "")]
    points = found["roc", "images", ""]
    assert len(points) <= 200
    assert (points[0], points[-1]) == ((0.0, 0.0, None), (1.0, 1.0, None))


def test_json_holds_the_figures(evaluation, tmp_path):
    content = json.loads(write(evaluation, tmp_path)["json"].read_text(encoding="utf-8"))
    assert content["title"] == "A title"
    assert content["image"]["auroc"]["value"] == evaluation.image["auroc"].value
    name = "pathological cases with a mask"
    found = content["populations"][name]["maps"]["attribution"]
    expected = evaluation.populations[name].maps["attribution"]
    assert found["pooled"] == expected.pooled
    assert found["per_case"]["dice"]["mean"] == expected.per_case["dice"].mean
    again = Threshold.from_dict(content["thresholds"]["FLAIR|x"])
    assert again == THRESHOLDS["FLAIR|x"]


def test_markdown_states_population_split_and_choice_of_threshold(evaluation):
    text = report(evaluation, title="A title", description="What it is.")
    assert text.startswith("# A title\n\nWhat it is.\n")
    assert "Split: test. 8 cases of 8 patients: 4 pathological, 4 healthy" in text
    assert "4 cases of 4 patients, 2048 brain voxels, lesion prevalence 5.273%" in text
    assert "8 cases of 8 patients, 4096 brain voxels, lesion prevalence 2.637%" in text
    image, thresholds, ours, everyone, healthy = tables(text)
    assert [row[0] for row in image[2:]] == [
        "Class-weighted accuracy",
        "True positive rate (TPR)",
        "True negative rate (TNR)",
        "AUROC",
    ]
    assert "labels only: at most 2.000 mL" in thresholds[2][3]
    assert "mask-tuned" in thresholds[3][3]
    assert thresholds[2][4] == "12 healthy validation images"
    for table in (ours, everyone):
        assert [row[:2] for row in table[2:]] == [
            ["attribution", "labels only"],
            ["FLAIR|x", "mask-tuned"],
        ]
        assert table[0][3] == "Oracle Dice (mask-tuned on these cases)"
    pooled = evaluation.populations["pathological cases with a mask"].maps["attribution"].pooled
    assert ours[2][2].endswith(f" / {pooled['dice']:.3f}")
    assert "Hausdorff (mm)" in ours[0]
    assert "False positives (mL per case)" in healthy[0]
    # Every row is as long as its head.
    for table in tables(text):
        assert len({len(row) for row in table}) == 1


def test_nothing_in_mm_or_ml_with_nominal_spacing(tmp_path):
    evaluation = make_evaluation(nominal=True)
    text = report(evaluation, title="t", description="d")
    voxels = text[text.index("## Voxels") : text.index("## Notes")]
    assert "mm" not in voxels
    assert "mL" not in voxels
    assert "share of the brain" in voxels
    write(evaluation, tmp_path)


@pytest.mark.parametrize("options", [{"mask": False}, {"labels": (1, 1, 1)}, {"labels": (0, 0)}])
def test_reports_without_masks_or_with_one_class(options, tmp_path):
    evaluation = make_evaluation(split="validation", **options)
    paths = write(evaluation, tmp_path)
    rows = paths["curve_points"].read_text(encoding="utf-8").splitlines()
    assert (len(rows) == 1) == ("labels" in options and 0 in options["labels"])
    text = paths["markdown"].read_text(encoding="utf-8")
    assert "Split: validation" in text
    assert "nan" not in text
    assert "## Notes" in text
    assert ("## Voxels" in text) == (options == {"labels": (1, 1, 1)})
    assert json.loads(paths["json"].read_text(encoding="utf-8"))["notes"] == evaluation.notes
    assert paths["curves"].stat().st_size > 5000


def test_an_unwritable_folder_is_one_clear_error(evaluation, tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"):
        write(evaluation, tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failed_drawing_leaves_the_old_figure(evaluation, tmp_path, monkeypatch):
    paths = write(evaluation, tmp_path)
    before = paths["curves"].read_bytes()

    def fail(self, target, **_):
        Path(target).write_bytes(b"half")
        raise RuntimeError("disk full")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(OutputError, match="disk full"):
        write(evaluation, tmp_path)
    assert paths["curves"].read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 5


def test_markdown_table_escapes_and_pads():
    text = markdown_table(["a", "b"], [["x|y", "line\nbreak"]])
    assert text.splitlines() == [
        "| a    | b          |",
        "| ---- | ---------- |",
        "| x\\|y | line break |",
    ]


def test_numbers_and_summaries_as_text():
    assert [number(v) for v in (0.12345, 12.345, 12345.6, 0.0, 0.001234, np.inf)] == [
        "0.123",
        "12.3",
        "1.23e+04",
        "0.000",
        "0.00123",
        "inf",
    ]
    assert summary_text(Summary.of([0.5, 0.501])) == "0.500 +- 0.001"
    assert summary_text(Summary.of([10.0, 20.0, np.inf])) == "15.0 +- 7.1 (2 of 3 cases)"
    assert summary_text(Summary.of([0.5])) == "0.500 (1 case)"
    assert summary_text(Summary.of([np.nan])) == "-"
    assert summary_text(None) == "-"
