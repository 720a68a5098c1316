"""Study native: a raw MS patient at two visits, through the whole chain and back.

Detects on the raw scans with the models of ms-3d, as a user does, and asks whether results lie on
the scan's own grid and side, whether they repeat at the second visit, whether they are this
patient's rather than any brain's, and whether the lesion that is new at visit 2 is seen. There are
no lesion masks. What is finished is not run again.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from AttribSegLib.bundle import load_bundle  # noqa: E402
from native_measures import (  # noqa: E402
    agreement,
    hot_on_bright,
    maps_in_common,
    masks_agreement,
    new_lesion,
    other_brains,
    per_visit,
    turned_result,
)
from native_page import page, summary  # noqa: E402
from native_pictures import draw_native, draw_visits  # noqa: E402
from native_scans import detect_once, models, scans, turned_scans, visit_of  # noqa: E402
from study import begin, publish  # noqa: E402


def main() -> None:
    """Detect on both visits, compare, report."""
    study = begin(__file__, __doc__)
    study.require_data()
    settings = study.settings
    names = settings["visits"]
    folders = models(study)
    main_model = next(iter(folders))
    found = {
        model: [detect_once(scans(study, n), folder, study.work / model) for n in names]
        for model, folder in folders.items()
    }
    turned = detect_once(
        turned_scans(study, names[0]), folders[main_model], study.work / f"{main_model}-turned"
    )
    loaded = {model: load_bundle(folder) for model, folder in folders.items()}
    visits = {
        model: [visit_of(study, n, each) for n, each in zip(names, of, strict=True)]
        for model, of in found.items()
    }
    common = visits[main_model][0].common
    print("comparing ...", flush=True)
    maps = [
        maps_in_common(visit, {model: of[number] for model, of in found.items()})
        for number, visit in enumerate(visits[main_model])
    ]
    results = {
        "visits": {m: [per_visit(v, loaded[m]) for v in visits[m]] for m in folders},
        "turned": turned_result(study, visits[main_model][0], turned),
        "agreement": {m: agreement(study, maps[0][m], maps[1][m], common) for m in maps[0]},
        "masks": {m: masks_agreement(*visits[m], loaded[m]) for m in folders},
        "others": {m: other_brains(study, loaded[m], *found[m]) for m in folders},
        "hot_on_bright": [hot_on_bright(study, of, common) for of in maps],
        "new_lesion": new_lesion(study, maps, common),
    }
    draw_visits(study, maps, common, main_model, study.out / "native.png")
    for name, each in zip(names, found[main_model], strict=True):
        draw_native(study, name, each)
    publish(study, results, page(study, results), summary(study, results))


if __name__ == "__main__":
    main()
