"""Attribution methods, one per file: which voxels argue for "pathological"."""
