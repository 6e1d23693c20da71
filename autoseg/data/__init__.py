"""From cases to batches: preprocessing, cache, augmentation."""
