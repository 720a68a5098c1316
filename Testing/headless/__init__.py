"""Slicer without its application, for tests and pictures; support code."""

from .slicer_app import HeadlessSlicer

__all__ = ["HeadlessSlicer"]
