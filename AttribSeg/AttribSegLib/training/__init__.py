"""Training: batches, augmentation, the loop, checkpoints, several processes."""
