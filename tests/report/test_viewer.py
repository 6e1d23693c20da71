"""NiiVue, which draws the pages of `view`, is a part of autoseg, with the licences of all that is in it."""

from __future__ import annotations

import hashlib

import pytest

from autoseg.report import viewer

SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"  # dist/niivue.umd.js of the npm package
LICENCES = {
    "MIT": ("@lukeed/uuid", "array-equal", "fflate", "gl-matrix", "nifti-reader-js", "zarrita", "numcodecs"),
    "ISC": ("@ungap/structured-clone",),
}


def test_niivue_is_the_file_that_its_authors_published() -> None:
    assert hashlib.sha256(viewer.SCRIPT.read_bytes()).hexdigest() == SHA256


def test_its_notice_says_what_it_is_and_what_it_contains() -> None:
    notice = viewer.NOTICE.read_text(encoding="utf-8")
    for part in (f"@niivue/niivue {viewer.VERSION}", "BSD 2-Clause License", "Copyright (c) 2021, Niivue", "zarrita"):
        assert part in notice


@pytest.mark.parametrize(("licence", "package"), [(key, name) for key, names in LICENCES.items() for name in names])
def test_the_licence_of_each_package_in_it_lies_beside_it(licence: str, package: str) -> None:
    text = (viewer.NIIVUE / "DEPENDENCIES-LICENSES.txt").read_text(encoding="utf-8")
    own = text.split(f"\n{package} ({licence})\n")[1].split("-" * 80)[0]
    assert "Copyright" in own
    assert '"AS IS"' in own
