"""Simulated images of ours in Slicer's *Sample Data* module; they need no network.

Slicer's own samples have no FLAIR. The images lie in ``Resources/SampleData``, whose README says
what they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from .resources import resource

#: Title of the group in the Sample Data module.
CATEGORY = "AttribSeg"


@dataclass(frozen=True)
class Sample:
    """One button of the Sample Data module.

    Parameters
    ----------
    name : str
        On the button, and what ``SampleData.downloadSample`` takes.
    files : dict of str to str
        File below ``Resources/SampleData`` to name of the node.
    thumbnail : str
        Picture below ``Resources/Icons``.
    """

    name: str
    files: dict[str, str]
    thumbnail: str


SAMPLES = (
    Sample(
        "SimulatedHealthyFLAIR",
        {"SimulatedHealthy_FLAIR.nii.gz": "SimulatedHealthy_FLAIR"},
        "SimulatedHealthy_FLAIR.png",
    ),
    Sample(
        "SimulatedTumourFLAIR",
        {
            "SimulatedTumour_FLAIR.nii.gz": "SimulatedTumour_FLAIR",
            "SimulatedTumour_lesions.seg.nrrd": "SimulatedTumour_lesions",
        },
        "SimulatedTumour_FLAIR.png",
    ),
    Sample(
        "SimulatedHeadFLAIR",
        {"SimulatedHead_FLAIR.nii.gz": "SimulatedHead_FLAIR"},
        "SimulatedHead_FLAIR.png",
    ),
)


def register() -> None:
    """Register the samples with Slicer's Sample Data module; twice does no harm.

    To be called once the application has started, when all modules are there.

    Raises
    ------
    InputError
        If the installation lacks a sample.
    """
    import SampleData

    for sample in SAMPLES:
        paths = [resource(f"SampleData/{file}") for file in sample.files]
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=sample.name,
            uris=[path.as_uri() for path in paths],
            fileNames=[path.name for path in paths],
            nodeNames=list(sample.files.values()),
            thumbnailFileName=str(resource(f"Icons/{sample.thumbnail}")),
            loadFileType=[
                "SegmentationFile" if path.name.endswith(".seg.nrrd") else "VolumeFile"
                for path in paths
            ],
            checksums=[_checksum(path.read_bytes()) for path in paths],
        )


def _checksum(content: bytes) -> str:
    """As the Sample Data module takes it; it tells an updated file from one it has in its cache."""
    import hashlib

    return f"SHA256:{hashlib.sha256(content).hexdigest()}"
