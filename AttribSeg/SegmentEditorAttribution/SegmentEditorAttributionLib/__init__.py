"""The effect's class, in the file that Slicer loads."""
