"""The meaning of names: which channel is CT, which organs are tubular or a left and right pair."""

from __future__ import annotations

import re
from collections.abc import Sequence

from autoseg.labels import Label

_CT = re.compile(r"(?<![a-z])(cb|ce|nc|ld)?ct(?![a-z])|hounsfield", re.IGNORECASE)
_OTHER_MODALITY = re.compile(
    r"(?<![a-z])(pet|suv|fdg|psma|spect|mri?|t1c?e?w?|t2w?|flair|adc|dwi|ultrasound)(?![a-z])", re.IGNORECASE
)
_NNUNET_NORMALISATIONS = {  # of documentation/explanation_normalization.md, by the name in lower case
    "nonorm": "leave the intensities alone",
    "rescale_to_0_1": "bring each image to 0 … 1",
    "rgb_to_0_1": "divide by 255",
}
_WORDS = re.compile(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+(?![^\W\d_A-Z])|\d+")  # letters of any script
_SIDES = {"left": "left", "l": "left", "lt": "left", "right": "right", "r": "right", "rt": "right"}

_TUBES = {
    *("artery", "arteries", "arterial", "aorta", "carotid", "vein", "veins", "venous", "vena", "cava"),
    *("vessel", "vessels", "vascular", "duct", "ducts", "ureter", "ureters", "urethra", "nerve", "nerves"),
    *("bronchus", "bronchi", "airway", "airways"),
}


def named_ct(name: str) -> bool:
    """Return whether a channel's name says CT.

    >>> [named_ct(name) for name in ("CT", "portal-venous CT", "CBCT", "T2", "ACT")]
    [True, True, True, False, False]
    """
    return _CT.search(name) is not None


def names_other_modality(name: str) -> bool:
    """Return whether a channel's name says another modality than CT, too.

    >>> [names_other_modality(name) for name in ("PET (on CT grid)", "portal-venous CT", "MR T1", "petrous CT")]
    [True, False, True, False]
    """
    return _OTHER_MODALITY.search(name) is not None


def unheeded_normalisation(name: str) -> str | None:
    """Return what nnU-Net would do to a channel of this name, where autoseg does something else; None where not.

    >>> unheeded_normalisation("noNorm"), unheeded_normalisation("T2")
    ('leave the intensities alone', None)
    """
    return _NNUNET_NORMALISATIONS.get(name.strip().casefold())


def is_tubular(organ: str) -> bool:
    """Return whether an organ's name says that it is a tube or a tree of tubes, of which the course matters.

    >>> [is_tubular(name) for name in ("artery", "portal_vein", "LeftOpticNerve", "liver", "conduct")]
    [True, True, True, False, False]
    """
    return not _TUBES.isdisjoint(word.lower() for word in _WORDS.findall(organ))


def side_pairs(labels: Sequence[Label]) -> tuple[tuple[int, int], ...]:
    """Return the values of organs whose names differ only in the side, each as (left, right).

    >>> side_pairs([Label(value=1, name="kidney_right"), Label(value=2, name="kidney_left")])
    ((2, 1),)
    """
    by_rest: dict[str, dict[str, int]] = {}  # name without its side, to side and value
    for label in labels:
        side, rest = _side(label.name)
        if side:
            by_rest.setdefault(rest, {})[side] = label.value
    return tuple((sides["left"], sides["right"]) for sides in by_rest.values() if len(sides) == 2)


def is_sided(name: str) -> bool:
    """Return whether a name says a side of the patient.

    >>> [is_sided(name) for name in ("lung_left", "R", "cleft palate", "liver")]
    [True, True, False, False]
    """
    return any(word.lower() in _SIDES for word in _WORDS.findall(name))


def _side(name: str) -> tuple[str, str]:
    """Return the side in a name ("left", "right" or ""), and the rest of the name."""
    for side in ("left", "right"):
        if side in name.lower():
            return side, re.sub(r"[\W_]", "", name.lower().replace(side, "", 1))
    words = [word.lower() for word in _WORDS.findall(name)]
    sides = [_SIDES[word] for word in words if word in _SIDES]
    return (sides[0] if len(sides) == 1 else ""), "".join(word for word in words if word not in _SIDES)
