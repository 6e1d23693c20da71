"""From volumes to batches: phantom, preprocessing, cache, augmentation."""
