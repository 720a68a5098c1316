"""Preprocessing steps, one per file."""
