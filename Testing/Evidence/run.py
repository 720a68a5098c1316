"""Run the studies that the data allow, and put their summaries together on one page.

Says before it starts how many minutes each will take. What is finished is not run again; a study
that is interrupted goes on where it was. A study that fails does not stop the others.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from AttribSegLib.evaluation_report import markdown_table  # noqa: E402
from AttribSegLib.files import write_text  # noqa: E402
from study import SETTINGS, Study, missing_data, with_findings  # noqa: E402

#: In the order in which they run: later ones use what earlier ones made.
STUDIES = (
    "lgg-2d",
    "preprocessing",
    "chapter5-lgg",
    "chapter5-contrast",
    "chapter6-accuracy",
    "chapter6-lesions",
    "shortcut",
    "ms-3d",
    "corrections",
    "native",
)


def main(arguments: list[str] | None = None) -> int:
    """Run what is wanted; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=STUDIES, default=list(STUDIES), metavar="NAME")
    parser.add_argument("--setting", choices=SETTINGS, default="reduced")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--list", action="store_true", help="say what there is to do, and stop")
    parser.add_argument("--again", action="store_true", help="run what is finished, too")
    parser.add_argument(
        "--page",
        action="store_true",
        help="only put the pages together, after findings.md was edited",
    )
    args = parser.parse_args(arguments)
    studies = [Study(HERE / name, args.setting, args.jobs) for name in args.only]
    failed: list[str] = []
    if not args.page:
        wanted = announce(studies, again=args.again)
        if args.list:
            return 0
        failed = [study.folder.name for study in wanted if not run(study)]
    every = [Study(HERE / name) for name in STUDIES]
    for study in every:
        page = study.out / "results.md"
        if page.is_file():
            write_text(page, with_findings(study, page.read_text(encoding="utf-8")))
    write_text(HERE / "README.md", overview(every))
    print(f"written: {HERE / 'README.md'}")
    if failed:
        print(f"failed: {', '.join(failed)}; the others are finished", file=sys.stderr)
    return 1 if failed else 0


def announce(studies: list[Study], *, again: bool) -> list[Study]:
    """Say what will run and for how long; returns what will."""
    wanted: list[Study] = []
    for study in studies:
        missing = missing_data(*study.about["data"])
        if missing:
            state = f"left out: {', '.join(missing)} not found (see CONTRIBUTING.md)"
        elif study.is_done and not again:
            state = "finished already"
        else:
            state = f"about {study.minutes:.0f} minutes of one core"
            wanted.append(study)
        print(f"{study.folder.name:20} {state}", flush=True)
    total = sum(study.minutes for study in wanted)
    print(
        f"{len(wanted)} to run, {studies[0].setting} setting: about {total:.0f} minutes of one "
        "core at most; what a stopped run has finished is kept",
        flush=True,
    )
    return wanted


def run(study: Study) -> bool:
    """Run one study in a process of its own; returns whether it worked."""
    print(f"\n{study.folder.name}: {study.about['question']}", flush=True)
    command = [sys.executable, str(study.folder / "run.py"), "--setting", study.setting]
    return subprocess.run([*command, "--jobs", str(study.jobs)]).returncode == 0


def overview(studies: list[Study]) -> str:
    """The page about all studies."""
    rows = []
    for study in studies:
        about = study.about
        name = study.folder.name
        rows.append(
            [
                f"[{name}]({name}/results.md)",
                about["question"],
                f"{about['minutes']['reduced']:.0f}",
                f"{about['minutes']['full']:.0f} ({about['full_needs']})",
            ]
        )
    table = markdown_table(["Study", "Question", "Minutes, reduced", "Minutes, full"], rows)
    short = (HERE / "findings.md").read_text(encoding="utf-8").strip()
    parts = [_INTRODUCTION.format(table=table), short, *map(section, studies)]
    return "\n\n".join(parts) + "\n"


def section(study: Study) -> str:
    """A study on the page: what is asked, its table and figure, what was found."""
    name = study.folder.name
    parts = [f"## {study.about['title']}", study.about["question"]]
    for file in ("summary.md", "findings.md"):
        path = study.folder / file
        if path.is_file():
            parts.append(below(name, path.read_text(encoding="utf-8").strip()))
    parts.append(f"All tables and figures: [{name}]({name}/results.md).")
    return "\n\n".join(parts)


def below(name: str, text: str) -> str:
    """Markdown of a study for the page above it: links lead into its folder, headings sink.

    >>> below("native", "## What it shows\\n![a](a.png)")
    '### What it shows\\n![a](native/a.png)'
    """
    text = re.sub(r"\]\((?![a-z]+:|#|\.\./)", f"]({name}/", text)
    text = re.sub(r"\]\(\.\./", "](", text)
    return re.sub(r"^#+ ", "### ", text, flags=re.MULTILINE)


_INTRODUCTION = """# Evidence

`make evidence` runs the studies below that their data allow (see CONTRIBUTING.md for where these
are looked for), and says beforehand how long each takes. What is finished is not run again.
`python Testing/Evidence/run.py --list` says what there is to do, `--only NAME` runs one,
`--setting full` takes the full setting. A study is a folder: `study.json` holds its question and
both settings, `run.py` runs it, `results.md` has everything, `results.json` the figures for
machines.

Rules for all of them: patients, not images, are split into training, validation and test part;
nothing is chosen on the part that is reported; thresholds come from image labels alone unless a
column says otherwise ("mask-tuned" thresholds use validation masks, "oracle" ones the very masks
that are reported); raw maps come first, and what is done to one map is done to the plain intensity
as well. The reduced setting, whose results are committed, is for two cores of a processor: narrow
networks, few epochs. It orders methods; it is no measure of what they can reach. The full setting
was not run: no GPU was available.

This page is put together by `run.py` from the studies' own summaries and findings, which were
written by hand after the runs.

{table}"""


if __name__ == "__main__":
    sys.exit(main())
