"""What the Segment Editor effect "Attribution" does, apart from Slicer's loading of it.

The effect's class has to lie in a file that Slicer loads under the name of its folder
(`SegmentEditorAttributionLib`), which is then no package: everything else is here. Only
`options` knows Qt.
"""
