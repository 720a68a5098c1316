"""Run the modules' self tests inside Slicer and end it with 0 if all passed.

    Slicer --testing --no-splash --no-main-window --additional-module-paths AttribSeg
        AttribSeg/SegmentEditorAttribution MonotoneNet --python-script Testing/run_self_tests.py

(one line). Slicer puts the folder of every module on Python's path, so the modules' classes are
imported as Slicer imported them.
"""

from __future__ import annotations

import importlib
import sys
import traceback
import unittest

#: Modules, and whether each must have a self test.
MODULES = {"AttribSeg": True, "MonotoneNet": True, "SegmentEditorAttribution": False}


def suite(modules: dict[str, bool] = MODULES) -> unittest.TestSuite:
    """The self tests of the modules, which Slicer must have loaded.

    Raises
    ------
    RuntimeError
        If Slicer did not load a module, or a self test is missing.
    """
    import slicer

    tests = unittest.TestSuite()
    for name, required in modules.items():
        if not hasattr(slicer.modules, name.lower()):
            raise RuntimeError(f"{name}: Slicer did not load this module; see the log above")
        case = getattr(importlib.import_module(name), f"{name}Test", None)
        if case is None and required:
            raise RuntimeError(f"{name}: has no {name}Test")
        if case is not None:
            tests.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(case))
    return tests


def main() -> int:
    """Run them; 0 if there were any and all passed."""
    try:
        tests = suite()
    except Exception:
        traceback.print_exc(file=sys.stdout)
        return 1
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(tests)
    passed = result.wasSuccessful() and result.testsRun > 0 and not result.skipped
    print(f"{result.testsRun} self tests, {'passed' if passed else 'FAILED'}")
    sys.stdout.flush()
    return 0 if passed else 1


if __name__ == "__main__":
    import slicer

    slicer.util.exit(main())
