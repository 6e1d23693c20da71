"""Patients: which cases are of one, as their cases are alike and must not count as independent ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

Patients = Mapping[str, str]  # case to patient; a case that is not in it is a patient of its own
NO_PATIENTS: Patients = MappingProxyType({})


def names_patients(patients: Patients) -> bool:
    """Return whether a dataset names patients: one that names none has a patient a case, called like it."""
    return any(case != patient for case, patient in patients.items())


def patients_of(cases: Collection[str], patients: Patients) -> list[str]:
    """Return the patients of some cases, each once, sorted.

    >>> patients_of(["a1", "a2", "b"], {"a1": "a", "a2": "a"})
    ['a', 'b']
    """
    return sorted({patients.get(case, case) for case in cases})
