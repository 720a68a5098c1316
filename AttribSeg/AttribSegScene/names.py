"""Names under which a detection is remembered in the scene, saved with it."""

from __future__ import annotations

from urllib.parse import quote, unquote

#: Segment of the lesions, in the segmentation and in the copy of the original detection.
SEGMENT_ID = "Lesions"

# Node references of the segmentation node.
VOLUME = "AttribSeg.Volume"
ATTRIBUTION = "AttribSeg.Attribution"
DETECTED = "AttribSeg.Detected"
TABLE = "AttribSeg.Table"
TO_ATLAS = "AttribSeg.ToAtlas"
#: Followed by a dot and the name of a channel.
CHANNEL_ATTRIBUTION = "AttribSeg.Attribution"
PREPARED = "AttribSeg.Prepared"
#: What was given to the detection, by channel.
INPUT = "AttribSeg.Input"

# Attributes of the segmentation node.
PROBABILITY = "AttribSeg.Probability"
CLASS = "AttribSeg.Class"
THRESHOLD = "AttribSeg.Threshold"
MINIMUM_ML = "AttribSeg.MinimumML"
SMOOTHING_MM = "AttribSeg.SmoothingMM"
BUNDLE = "AttribSeg.Bundle"
BUNDLE_NAME = "AttribSeg.BundleName"
BUNDLE_HASH = "AttribSeg.BundleHash"
CASE = "AttribSeg.Case"
#: File that the volume was loaded from.
SOURCE = "AttribSeg.Source"
#: Grid of the volume when it was segmented, as JSON.
GRID = "AttribSeg.Grid"
#: "1" when the voxel spacing is nominal.
NOMINAL = "AttribSeg.Nominal"
#: What makes a raw scan's preprocessing doubtful, one line each.
WARNINGS = "AttribSeg.Warnings"
#: Followed by a dot and a segment: its fingerprint as this program wrote it.
WRITTEN = "AttribSeg.Written"

# Attribute of the copy of the original detection.
#: "1".
AS_DETECTED = "AttribSeg.AsDetected"

# Attribute of the table node.
#: Number of lesions, of which the table may hold the largest only.
LESIONS = "AttribSeg.Lesions"


def channel_role(role: str, channel: str) -> str:
    """Node reference of a channel, such as ``AttribSeg.Prepared.FLAIR``."""
    # Quotes and colons in a role would make the whole scene file unreadable.
    return f"{role}.{quote(channel, safe=' ')}"


def channel_of(role: str, name: str) -> str | None:
    """Channel of a node reference that :func:`channel_role` named; None for another role."""
    return unquote(name[len(role) + 1 :]) if name.startswith(f"{role}.") else None
