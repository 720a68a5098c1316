"""Study chapter6-lesions: counterfactual maps of monotone networks on tumours in FLAIR slices.

The full method, the method without each of its parts and with each constraint alone, an ordinary
network and two classifiers read by their gradient, three seeds each, on one cohort; then every
feature channel of the full method on its own. What is finished is not run again.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from AttribSegLib.cohort import read_cohort  # noqa: E402
from AttribSegLib.comparison.plan import Plan, slug  # noqa: E402
from comparing import comparison_page, lgg_cohort_table, run_compare  # noqa: E402
from lesions_certificates import certificate_of, tried_out  # noqa: E402
from lesions_channels import channels_of  # noqa: E402
from lesions_cohort import smaller_cohort  # noqa: E402
from lesions_differences import differences  # noqa: E402
from lesions_page import figures_of, page_text, summary_text  # noqa: E402
from lesions_pictures import draw_channels, draw_entries  # noqa: E402
from study import Study, begin, publish  # noqa: E402


def certificates(study: Study, pictured: list[Any]) -> dict[str, Any]:
    """What every run records of its monotonicity; the full method's bodies are also tried out."""
    plan = study.settings["plan"]
    recipes = Plan.from_dict(plan).recipes
    found: dict[str, Any] = {}
    for name in recipes:
        for seed in plan["seeds"]:
            folder = study.work / "compare" / "models" / f"{slug(name)}-{seed}"
            if not (folder / "config.json").is_file():
                continue  # a training that failed is named in the comparison's notes
            each = {"entry": name, "seed": seed, **certificate_of(folder)}
            if name == plan["reference"]:
                each["tried_out"] = tried_out(folder, pictured)
            found[folder.name] = each
    return found


def main() -> None:
    """Train, score, look at the channels, report."""
    study = begin(__file__, __doc__)
    settings = study.settings
    table = smaller_cohort(lgg_cohort_table(study), settings, study.work)
    comparison = run_compare(study, table)
    cohort = read_cohort(table)
    plan = settings["plan"]
    reference = plan["reference"]
    trained = [run["seed"] for run in comparison["runs"] if run["entry"] == reference]
    models = {
        seed: study.work / "compare" / "models" / f"{slug(reference)}-{seed}" for seed in trained
    }
    channels = {
        seed: channels_of(folder, cohort, study.work / "channels" / f"seed-{seed}.json")
        for seed, folder in models.items()
    }
    # Spread over lesion sizes, and chosen before any map was looked at.
    examples = [comparison["examples"][i] for i in settings["pictured"]]
    pictured = [case for name in examples for case in cohort.cases if case.case == name]
    draw_entries(comparison, study.out / "parts.png")
    seed = settings["pictured_seed"]
    draw_channels(models[seed], pictured, channels[seed], study.out / "channels.png")
    results = {
        "counts": comparison["counts"],
        "prevalence": comparison["prevalence"],
        "splits": cohort.summary()["splits"],
        "entries": figures_of(comparison),
        "differences": differences(comparison, settings["against"]),
        "channels": {str(seed): each for seed, each in channels.items()},
        "certificates": certificates(study, pictured),
        "notes": comparison["notes"],
    }
    page = page_text(study, comparison, results) + "\n\n" + comparison_page(study)
    publish(study, results, page, summary_text(study, comparison, results))


if __name__ == "__main__":
    main()
