"""Volumes: where their voxels lie, how they are read, written and resampled."""
