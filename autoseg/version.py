"""The version of autoseg, also of a checkout that is not installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

DISTRIBUTION = "autoseg-fcn"  # what pip knows it by; the name autoseg is another project's there
UNKNOWN = "0+unknown"


def find_version(checkout: Path) -> str:
    """Return the version that is installed, else that of the setup.cfg of `checkout`, else UNKNOWN."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        from configparser import ConfigParser

        setup = ConfigParser()
        setup.read(checkout / "setup.cfg", encoding="utf-8")
        return setup.get("metadata", "version", fallback=UNKNOWN)


VERSION = find_version(Path(__file__).parents[1])
