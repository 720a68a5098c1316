"""Weakly supervised segmentation of brain lesions from image-level labels."""

__version__ = "0.1.0"
