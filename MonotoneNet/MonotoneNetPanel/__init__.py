"""The sections of the MonotoneNet panel; what both panels share is in AttribSegPanel."""
