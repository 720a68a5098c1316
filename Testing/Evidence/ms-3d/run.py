"""Study ms-3d: trained on simulated FLAIR, lesions detected in two real MS patients.

The lesion shapes of twenty other patients are planted into simulated brains; classifiers are
trained on image-level labels alone, with the Unsup constraint and without, and with fewer and
fewer images. What is finished is not run again.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from ms_models import measured, models_of, train  # noqa: E402
from ms_page import page, summary  # noqa: E402
from ms_pictures import draw_counts, draw_detections  # noqa: E402
from simulated_ms import cohort_of  # noqa: E402
from study import begin, publish  # noqa: E402


def main() -> None:
    """Simulate, train, measure, report."""
    study = begin(__file__, __doc__)
    # Leaves the program where the real volumes are absent, before hours of training.
    print(f"real volumes from {study.data}", flush=True)
    cohort = cohort_of(study)
    found = []
    for model in models_of(study):
        train(study, model, cohort)
        found.append(measured(study, model, cohort))
    draw_counts(study, found, study.out / "ms-3d.png")
    draw_detections(study)
    publish(study, {"models": found}, page(study, found), summary(study, found))


if __name__ == "__main__":
    main()
