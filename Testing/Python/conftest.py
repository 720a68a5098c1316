"""Makes the support code in ``Testing`` importable (``from headless import HeadlessSlicer``)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
