"""The preprocessing chain step by step, on the raw patient and on simulated heads.

Most of the time is for the registrations of the robustness study. What is finished is kept and not
run again.
"""

import json
import sys
from pathlib import Path

import bias
import interslice
import patient
import robustness
from AttribSegLib.files import write_json

HERE = Path(__file__).resolve().parent
# The studies are scripts, not a package: what they share lies one folder up.
sys.path.append(str(HERE.parent))

from study import Study, begin, publish  # noqa: E402

PARTS = {
    "registration": patient.registration,
    "brain_masks": patient.brain_masks,
    "round_trip": patient.round_trip,
    "interslice": interslice.measure,
    "n4_fields": bias.fields,
    "n4_contrast": bias.contrast,
}


def once(name: str, work: Path):
    """A part's result, measured unless it is kept."""
    kept = work / f"{name}.json"
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


def summary(study: Study, runs: list[dict]) -> str:
    """The robustness study in short."""
    return f"""Both visits of one raw patient (FLAIR and T1-weighted) and four simulated heads,
{study.settings["poses"]} random poses each; nothing is trained, so there is no split. Landed:
within {robustness.WITHIN_MM:.0f} mm, on average over the brain, of where the unposed scan lands.

{robustness.table(runs)}

![The worst pose of every scan](robustness.png)
"""


def main() -> None:
    """Run what is missing; write the page and the montage."""
    study = begin(__file__, __doc__)
    study.require_data()
    picture = study.out / "robustness.png"
    runs = robustness.run(study.work, picture, jobs=study.jobs, poses=study.settings["poses"])
    found = {name: once(name, study.work) for name in PARTS}
    publish(study, {**found, "robustness": runs}, page(found, runs), summary(study, runs))


if __name__ == "__main__":
    main()
