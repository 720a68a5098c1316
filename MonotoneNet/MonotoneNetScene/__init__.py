"""Monotone networks and MRML nodes: inspections, channels and their pictures; no Qt."""
