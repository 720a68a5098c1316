"""The module ``SampleData``: registered samples, loaded from files (there is no network)."""

from __future__ import annotations

import hashlib
import sys
import types
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


class SampleDataSource:
    """One sample, as it was registered."""

    def __init__(self, sample_name: str, settings: dict[str, Any]) -> None:
        self.sampleName, self.settings = sample_name, settings
        self.uris = _as_list(settings["uris"])
        self.fileNames = _as_list(settings["fileNames"])
        self.nodeNames = _as_list(settings["nodeNames"])
        self.checksums = _as_list(settings.get("checksums") or [None] * len(self.uris))
        self.loadFileTypes = _as_list(settings.get("loadFileType") or "VolumeFile")
        if len(self.loadFileTypes) == 1:
            self.loadFileTypes *= len(self.uris)


class SampleDataLogic:
    """Registers samples and loads them."""

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom", sampleName: str = "", **settings: Any
    ) -> None:
        """Register a sample under a category; the same name replaces it."""
        import slicer

        if not hasattr(slicer.modules, "sampleDataSources"):
            slicer.modules.sampleDataSources = {}
        sources = slicer.modules.sampleDataSources.setdefault(category, [])
        sources[:] = [source for source in sources if source.sampleName != sampleName]
        sources.append(SampleDataSource(sampleName, settings))

    def downloadSample(self, sampleName: str) -> Any:
        """Load a sample into the scene; returns its first node.

        Raises
        ------
        RuntimeError
            If no sample has the name.
        ValueError
            If a file is not the one whose checksum was registered.
        """
        return self.downloadSamples(sampleName)[0]

    def downloadSamples(self, sampleName: str) -> list[Any]:
        """Load a sample into the scene; returns its nodes."""
        import slicer.util

        for sources in getattr(slicer.modules, "sampleDataSources", {}).values():
            for source in sources:
                if source.sampleName == sampleName:
                    return _load(source, slicer.util.loadNodeFromFile)
        raise RuntimeError(f"no sample is called {sampleName!r}")


def _load(source: SampleDataSource, load: Any) -> list[Any]:
    nodes = []
    entries = zip(
        source.uris, source.nodeNames, source.loadFileTypes, source.checksums, strict=True
    )
    for uri, name, kind, checksum in entries:
        path = url2pathname(urlparse(uri).path)
        if checksum:
            algorithm, _, digest = checksum.partition(":")
            with open(path, "rb") as file:  # noqa: PTH123
                if hashlib.file_digest(file, algorithm.lower()).hexdigest() != digest:
                    raise ValueError(f"{path}: another file than the one that was registered")
        nodes.append(load(path, kind, {"name": name}))
    return nodes


def install_sample_data() -> None:
    """Make ``import SampleData`` work in this process."""
    module = types.ModuleType("SampleData")
    logic = SampleDataLogic()
    vars(module).update(
        SampleDataLogic=SampleDataLogic,
        downloadSample=logic.downloadSample,
        downloadSamples=logic.downloadSamples,
    )
    sys.modules.setdefault("SampleData", module)
