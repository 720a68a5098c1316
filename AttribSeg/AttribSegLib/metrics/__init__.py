"""Metrics of image classification and of voxel-wise segmentation."""
