import subprocess
import sys

import AttribSegLib
import MonotoneNetLib


def test_both_packages_have_one_version():
    assert MonotoneNetLib.__version__ == AttribSegLib.__version__


def test_importing_it_loads_nothing_heavy():
    code = "import sys, MonotoneNetLib; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
