"""Measure speed and memory; print a table and write ``results.json`` beside this file.

Every group runs in a process of its own. Ratios compare two functions within one process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
GROUPS = (
    "start_up",
    "constrained_step",
    "attribution",
    "detection",
    "chain",
    "counterfactual",
    "initialisation",
    "monotone_step",
    "threshold_update",
    "panel",
)
#: What each figure must not exceed.
LIMITS = {
    "import_s": 0.3,
    "help_s": 0.5,
    "constrained_step_2d": 1.6,
    "constrained_step_3d": 1.6,
    "step_g": 1.6,
    "step_eg": 2.6,
    "step_ieg": 2.6,
    "ig_time_over_captum": 0.7,
    "ig_equal_nodes_over_captum": 1.0,
    "ig_memory_over_captum": 0.25,
    "occlusion_difference": 1e-4,
    "detect_2mm_s": 4.0,
    "detect_2mm_mb": 3000.0,
    "chain_2mm_s": 60.0,
    "chain_2mm_mb": 2000.0,
    "chain_1mm_s": 150.0,
    "counterfactual_2mm_s": 5.0,
    "init_over_forward": 1.5,
    "init_over_forward_monotone": 1.5,
    "monotone_step": 1.25,
    "monotone_step_features": 1.25,
    "threshold_update_ms": 50.0,
    "threshold_display_ms": 50.0,
    "panel_construction_s": 0.5,
    "window_block_ms": 50.0,
}
#: What a figure must reach.
LEAST = {"occlusion_speedup_over_monai": 10.0, "init_speedup_over_lsuv": 50.0}


def _measure_here(group: str) -> None:
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    print(json.dumps(import_module(group).measure()))


def _measure_apart(group: str) -> dict[str, float]:
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    command = [sys.executable, str(HERE / "run.py"), "--group", group]
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=HERE,
        env=environment,
        encoding="utf-8",
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Run all groups, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--group", choices=GROUPS, help=argparse.SUPPRESS)
    parser.add_argument(
        "--only", choices=GROUPS, action="append", help="measure these groups, keep the others"
    )
    args = parser.parse_args()
    if args.group:
        _measure_here(args.group)
        return
    results: dict[str, float] = {}
    target = HERE / "results.json"
    if args.only and target.is_file():
        known = json.loads(target.read_text(encoding="utf-8"))
        results = {name: value for name, value in known.items() if name != "machine"}
    for name in args.only or GROUPS:
        results |= _measure_apart(name)
    print(f"{'figure':<28}{'value':>10}{'limit':>10}")
    for name, value in results.items():
        limit = LIMITS.get(name, LEAST.get(name))
        good = value <= LIMITS.get(name, value) and value >= LEAST.get(name, value)
        verdict = "" if limit is None else ("  ok" if good else "  MISSED")
        print(f"{name:<28}{value:>10.3f}{'' if limit is None else limit:>10}{verdict}")
    machine = {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
    }
    content = {**{name: round(value, 4) for name, value in results.items()}, "machine": machine}
    target.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written: {target}")


if __name__ == "__main__":
    main()
