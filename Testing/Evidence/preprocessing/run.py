"""The preprocessing chain step by step, on the raw patient and on simulated heads.

About 35 minutes on two cores, most of it for the 120 registrations of the robustness study. What
is finished is kept in work/ and not run again.
"""

import argparse
import json
import sys
from pathlib import Path

import bias
import interslice
import patient
import robustness
from AttribSegLib.files import write_json, write_text

HERE = Path(__file__).resolve().parent
# The studies are scripts, not a package: what they share lies one folder up.
sys.path.append(str(HERE.parent))

from study import data_folder  # noqa: E402

PARTS = {
    "registration": patient.registration,
    "brain_masks": patient.brain_masks,
    "round_trip": patient.round_trip,
    "interslice": interslice.measure,
    "n4_fields": bias.fields,
    "n4_contrast": bias.contrast,
}


def once(name: str):
    """A part's result, measured unless it is kept."""
    kept = HERE / "work" / f"{name}.json"
    kept.parent.mkdir(exist_ok=True)
    if not kept.is_file():
        print(f"{name} ...", flush=True)
        write_json(kept, PARTS[name]())
    return json.loads(kept.read_text(encoding="utf-8"))


def markdown(rows: list[dict]) -> str:
    """A table of rows with the same keys."""
    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def page(found: dict, runs: list[dict]) -> str:
    """All results as Markdown."""
    text = (HERE / "results.template.md").read_text(encoding="utf-8")
    figures = [{"figure": name, "mm": value} for name, value in found["registration"].items()]
    tables = {name: markdown(rows) for name, rows in found.items() if name != "registration"}
    tables |= {"registration": markdown(figures), "robustness": robustness.table(runs)}
    for name, table in tables.items():
        text = text.replace("{{" + name + "}}", table.strip())
    return text


def main() -> None:
    """Run what is missing; write results.json, results.md and the montage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="parallel registrations")
    args = parser.parse_args()
    data_folder("ms/raw/patient01", "ms/mni")
    runs = robustness.run(args.jobs)
    found = {name: once(name) for name in PARTS}
    write_json(HERE / "results.json", {**found, "robustness": runs})
    write_text(HERE / "results.md", page(found, runs))


if __name__ == "__main__":
    main()
