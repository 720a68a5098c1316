"""The module's own test, as Slicer runs it, and the logic from the Python console."""

from __future__ import annotations

import pytest
from attribseg_panel import workplace


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with workplace(tmp_path_factory.mktemp("self-test")) as opened:
        yield opened


def test_self_test_of_the_module(place):
    import slicer

    slicer.selfTests["AttribSeg"]()
    assert place.app.messages == []
