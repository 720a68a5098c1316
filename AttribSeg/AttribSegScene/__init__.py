"""What AttribSeg does with the nodes of an MRML scene; no Qt, on top of ``AttribSegLib.mrml``."""
