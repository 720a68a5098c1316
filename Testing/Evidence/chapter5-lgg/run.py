"""Study chapter5-lgg: recipes, attributions and baselines on tumours in FLAIR slices.

``attribseg compare`` trains and scores them all. The networks of some entries are then read by
every attribution, and the weight of the constraint is swept on two resolutions.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from AttribSegLib.files import atomic_folder  # noqa: E402
from claims import claims_table  # noqa: E402
from coarser import coarser_cohort  # noqa: E402
from comparing import comparison_page, lgg_cohort_table, run_compare  # noqa: E402
from short import draw_short, summary  # noqa: E402
from study import Study, begin, merged, publish  # noqa: E402


def share_models(study: Study, name: str) -> None:
    """Give another comparison the networks that are trained, so that it trains none of them."""
    models = study.work / name / "models"
    if not models.is_dir():
        with atomic_folder(models) as temporary:
            shutil.copytree(study.work / "compare" / "models", temporary, dirs_exist_ok=True)


def read_by_all(study: Study, table: Path) -> dict[str, Any]:
    """The comparison's networks, read by every attribution; nothing is trained again."""
    plan = study.settings["plan"]
    chosen = dict(study.settings["attributions"])
    names = chosen.pop("of")
    share_models(study, "attributions")
    recipes = {
        name: {key: value for key, value in plan["recipes"][name].items() if key != "inference"}
        for name in names
    }
    return run_compare(
        study, table, {**chosen, "common": plan["common"], "recipes": recipes}, "attributions"
    )


def brief(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """Runs without their values per case, which are in the work folder."""
    return [
        {
            **{key: run[key] for key in ("entry", "seed", "kind", "primary", "image", "budget")},
            "maps": [
                {key: each[key] for key in ("name", "rule", "processing", "pooled")}
                for each in run["maps"]
            ],
        }
        for run in comparison["runs"]
    ]


def main() -> None:
    """Compare, sweep, report."""
    study = begin(__file__, __doc__)
    study.require_data()
    table = lgg_cohort_table(study)
    comparison = run_compare(study, table)
    attributions = read_by_all(study, table)
    coarse = coarser_cohort(table, study.work / "coarser")
    sweep = merged(
        study.settings["sweep_plan"],
        {"sweep": {"cohorts": {"128 x 128": None, "64 x 64": str(coarse)}}},
    )
    share_models(study, "sweep")
    swept = run_compare(study, table, sweep, "sweep", keep=("sweep.png", "table_sweep.csv"))
    draw_short(comparison, study.out / "short.png")
    claims, text = claims_table(comparison, attributions)
    page = "\n\n".join(
        [
            "## Claims",
            text,
            comparison_page(study).strip(),
            "## Every attribution, read from the same networks",
            comparison_page(study, "attributions").strip().replace("\n## ", "\n### "),
            "## The weight of the constraint",
            "Figures: [sweep_table_sweep.csv](sweep_table_sweep.csv).",
            "![Figures against alpha, on two resolutions](sweep_sweep.png)",
        ]
    )
    results = {
        "claims": claims,
        "runs": brief(comparison),
        "attributions": brief(attributions),
        "sweep": swept["sweep"],
    }
    publish(study, results, page, summary(study, comparison))


if __name__ == "__main__":
    main()
