"""A clock that is set back by hours, between verbs and while they run: nothing hangs, and what is stale is seen."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from pathlib import Path

from .kills import shares
from .outcome import Tally, differences
from .workplace import Workplace

BACK_S = 5 * 3600


def clock(places: Sequence[Workplace], count: int, draw: random.Random) -> list[Tally]:
    """Set the clock back before every verb or while it runs; then change a label map, which `run` must see."""
    before, within, stale = (
        Tally(f"clock back by 5 h {when}") for when in ("before a verb", "within a verb", "and a file is changed")
    )
    for place, verb, share in shares(places, count):
        place.after(verb)
        for number in range(share):
            place.restore(place.before(verb))
            make_future(place.work)
            place.shared.reset(late_s=BACK_S if number % 2 == 0 else 0)
            tally = within if number % 2 else before
            tally.add(f"{place.name} {verb}")
            program = place.start(verb)
            if number % 2:
                program.wait(draw.uniform(0, place.seconds[verb]))
                place.shared.set_back(BACK_S)
            place.require_end(verb, tally, program)
    for place in places:
        if "run" in place.verbs:
            see_change(place, stale)
    return [before, within, stale]


def make_future(folder: Path) -> None:
    """Give all files the times that they would have, had the clock been set back since."""
    for file in folder.rglob("*"):
        if file.is_file():
            status = file.stat()
            os.utime(file, (status.st_atime + BACK_S, status.st_mtime + BACK_S))


def see_change(place: Workplace, tally: Tally) -> None:
    """Change the label map of a testing case after `run`, and run again with the right clock and with a late one."""
    done = place.after("run")
    tested = json.loads((done / "RUN" / "split.json").read_text())[0]["testing"][0]  # the model has not learnt from it
    label = place.data / "labelsTr" / f"{tested}.nii.gz"
    sound = label.read_bytes()
    try:
        label.write_bytes(without_first_slices(label))
        for late_s in (0, BACK_S):
            place.restore(done)
            if late_s:
                make_future(place.work)
            place.shared.reset(late_s)
            program = place.start("run")
            if not program.wait(place.limit_s("run")) or program.code:
                tally.note("hung" if program.code is None else "corrupt", program.text[-500:])
            if not late_s:
                place.keep(place.states / "changed")
        tally.add(place.name)
        if not differences(done, place.work):
            tally.note("corrupt", f"{place.name}: a changed label map was not seen")
        tally.wrong += [("corrupt", difference) for difference in differences(place.states / "changed", place.work)]
    finally:
        label.write_bytes(sound)
        place.shared.reset()


def without_first_slices(label: Path) -> bytes:
    """Return the file of a label map whose first third of slices is background."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(label))
    array = sitk.GetArrayFromImage(image)
    array[: len(array) // 3] = 0
    changed = sitk.GetImageFromArray(array)
    changed.CopyInformation(image)
    file = label.with_name(f"changed_{label.name}")
    sitk.WriteImage(changed, str(file), True)
    data = file.read_bytes()
    file.unlink()
    return data
