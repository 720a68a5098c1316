import subprocess
import sys
from pathlib import Path
from typing import Any

import AttribSegLib
import MonotoneNetLib
import pytest


def test_both_packages_have_one_version():
    assert MonotoneNetLib.__version__ == AttribSegLib.__version__


def test_importing_it_loads_nothing_heavy():
    code = "import sys, MonotoneNetLib; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.stdout.strip() == "[]"


def test_everything_listed_is_there():
    for name in MonotoneNetLib.__all__:
        assert getattr(MonotoneNetLib, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = MonotoneNetLib.nothing


def test_the_page_for_pytorch_users_runs(capsys):
    """The README's code, as it stands there, learns, certifies and finds the lesion."""
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    found: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), found)
    assert "weight" in capsys.readouterr().out
    alpha, labels = found["maps"], found["labels"]
    assert alpha.shape == (16, 8, 32, 32)
    inside = alpha[labels == 1][..., 8:16, 8:16].mean()
    outside = alpha[labels == 1].mean()
    assert inside > 3 * outside
