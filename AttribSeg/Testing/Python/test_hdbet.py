"""HD-BET is asked for by name, and fetches nothing without consent."""

import sys
import types

import numpy as np
import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.image import Geometry, Image
from AttribSegLib.preprocessing import hdbet


@pytest.fixture
def scan():
    return Image(np.ones((8, 9, 10), np.float32), Geometry((8, 9, 10)))


def test_without_the_package(scan, monkeypatch):
    monkeypatch.setattr(hdbet, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"attribseg\[hdbet\]"):
        hdbet.extract_brain_hdbet(scan)


def test_without_weights_and_consent(scan, monkeypatch, tmp_path):
    """A stand-in with the names of HD-BET 2.0.1; the real one cannot be installed everywhere."""
    called = []
    modules = {
        "HD_BET": types.ModuleType("HD_BET"),
        "HD_BET.paths": types.SimpleNamespace(folder_with_parameter_files=str(tmp_path)),
        "HD_BET.checkpoint_download": types.SimpleNamespace(
            maybe_download_parameters=lambda: called.append("download")
        ),
        "HD_BET.hd_bet_prediction": types.SimpleNamespace(
            get_hdbet_predictor=None, hdbet_predict=None
        ),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(hdbet, "find_spec", lambda name: object())
    with pytest.raises(InputError, match="--allow-download"):
        hdbet.extract_brain_hdbet(scan)
    assert called == []
