"""The report puts the worst first and shows names as they are."""

import csv
from html.parser import HTMLParser

from AttribSegLib.preprocess_report import (
    ReportRow,
    worst_first,
    write_quality_table,
    write_report,
)
from AttribSegLib.preprocessing.options import ChainOptions

ROWS = [
    ReportRow("good", "done", quality={"registration.T1.score": 0.7, "brain.brain_ml": 1300.0}),
    ReportRow("poor", "skipped", quality={"registration.T1.score": 0.5}, folder="cases/poor"),
    ReportRow("doubtful", "flagged", warnings=("brain: 300 mL",), folder="cases/a b#?"),
    ReportRow("<b>broken</b>", "failed", "no & such file"),
]


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text, self.sources = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text.append(data.strip())


def test_worst_first():
    names = [row.case for row in worst_first(ROWS)]
    assert names == ["<b>broken</b>", "doubtful", "poor", "good"]


def test_table(tmp_path):
    write_quality_table(ROWS, tmp_path / "quality.csv")
    rows = list(csv.DictReader((tmp_path / "quality.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["status"] for row in rows] == ["failed", "flagged", "skipped", "done"]
    assert rows[3]["brain.brain_ml"] == "1300"
    assert rows[2]["brain.brain_ml"] == ""
    assert rows[0]["reason"] == "no & such file"


def test_page(tmp_path):
    options = ChainOptions(steps=("registration",), atlas="own & good.nii").to_dict()
    path = tmp_path / "report.html"
    write_report(ROWS, path, source="a&b.csv", options=options, versions={"numpy": "2.0"})
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    assert "b" not in page.tags  # names are text, not markup
    headings = [text for text in page.text if text in {row.case for row in ROWS}]
    assert headings[:4] == ["<b>broken</b>", "doubtful", "poor", "good"]
    assert "Preprocessing of a&b.csv" in page.text
    assert any("on the grid of own & good.nii" in text for text in page.text)
    assert "brain: 300 mL" in page.text
    assert "cases/a%20b%23%3F/" in page.sources
    assert not any(source.startswith("http") for source in page.sources)  # works without network
