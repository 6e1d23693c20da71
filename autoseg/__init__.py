"""autoseg: self-configuring segmentation of organs in CT and MR volumes. For research; not a medical device."""

from importlib.metadata import version

__version__ = version("autoseg")
