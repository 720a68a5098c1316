"""The sections of the panels: they translate between controls and the floors below."""
