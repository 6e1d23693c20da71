"""A small dataset and a plan that takes seconds: a folder in which each verb has work, and the right result of it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from .outcome import Tally, differences, leftovers
from .program import Program, Server
from .shim import Shared

PLAN = {
    "spacing_mm": None,
    "downsampling": [1, 1, 1],
    "crop_size": [16, 16, 16],
    "batch_size": 2,
    "iterations": 24,
    "learning_rate": 0.002,
    "organ_share": 0.7,
    "precision": "float32",
    "network": {"stages": [{"features": [4, 4]}, {"features": [8, 8]}]},
    "augmentation": {"rotation_deg": 20, "translation_voxels": 4, "bspline_voxels": 4, "noise": 0.1},
    "loss": {"kind": "dice-ce", "background": False, "over": "batch"},
    "optimiser": {"name": "adamw", "schedule": "cosine", "averaging": 0.9},
}
CASES = 24  # of a dataset of real scans
PHANTOMS = 4
OFTEN = "import autoseg.training.loop as loop; loop.SAVE_EVERY_S = 0.5"  # checkpoints
AT_LEAST_S = 60.0  # that a command may take before it hangs, and as often as it took alone:
TIMES_SLOWER = 20.0
AFTER = dict.fromkeys(("check", "plan", "run", "demo", "measure"), "nothing") | {
    "team": "preprocess",
    "export": "evaluate",
}


class Workplace:
    """A folder `work`, in which each verb is run on the results of the verbs before it; these are made when first asked
    for, once, and stand in `states`."""

    def __init__(
        self, place: Path, server: Server, dataset: Path | None = None, cases: int = CASES, jobs: int = 2
    ) -> None:
        """Copy the first cases of a dataset in the Decathlon's layout; None: make phantoms."""
        self.place, self.work, self.states, self.data = place, place / "work", place / "states", place / "data"
        self.name, self._server = dataset.name if dataset else "phantom", server
        self.work.mkdir(parents=True)
        labels = _copy_cases(dataset, self.data, cases) if dataset else _make_phantoms(self.data)
        (place / "images").mkdir()
        for image in sorted((self.data / "imagesTr").iterdir())[:6]:
            shutil.copy(image, place / "images" / image.name.replace("_0000", ""))
        plan = place / "preset.json"
        plan.write_text(json.dumps(PLAN if dataset else PLAN | {"spacing_mm": [6, 6, 6]}))
        planning = ("--device", "cpu", "--preset", plan, "-j", jobs)
        self.commands: dict[str, tuple[object, ...]] = {  # each AFTER another one, or the one before it
            "check": ("check", self.data, "--json", "check.json", "-j", jobs),
            "plan": ("plan", self.data, "RUN", *planning),
            "preprocess": ("preprocess", "RUN", "-j", jobs),
            "train": ("train", "RUN", "--workers", jobs - 1),
            "evaluate": ("evaluate", "RUN"),
            "report": ("report", "RUN", "-j", jobs),
            "export": ("export", "RUN", "model.autoseg"),
            "predict": ("predict", "model.autoseg", place / "images", "OUT"),
            "score": ("score", "RUN/fold-0/predictions", labels, "--labels", self.data / "dataset.json", "-j", jobs),
            "compare": ("compare", "RUN", "scores.csv", "--out", "comparison"),
        }
        if dataset:
            self.commands["run"] = ("run", self.data, "RUN", *planning, "--workers", jobs - 1)
        else:  # the same, once it has made the phantoms
            self.commands["demo"] = (
                "demo",
                "DEMO",
                "--cases",
                PHANTOMS,
                "--iterations",
                PLAN["iterations"],
                *planning,
                "--workers",
                jobs - 1,
            )
        self.verbs = tuple(self.commands)  # that are disturbed
        self.commands["measure"] = (*self.commands["plan"][:-2], "--measure")
        self.commands["team"] = ("train", "RUN", "--gpus", 2, "--workers", 0)
        self.seconds: dict[str, float] = {}  # that each verb takes undisturbed
        self.operations: dict[str, dict[str, int]] = {}  # how often it writes and reads files
        self.shared = Shared(place / "shared")
        self.keep(self.states / "nothing")

    def start(
        self, verb: str, patch: str = "", environment: Mapping[str, str] | None = None, more: tuple[object, ...] = ()
    ) -> Program:
        """Start a verb, with a checkpoint every half second; `patch` is Python to run before, `more` are arguments."""
        shim = {"FAULTS_FOLDER": str(self.place), "FAULTS_SHARED": str(self.shared.file)}
        command = (*self.commands[verb], *more)
        return self._server.start(self.work, command, f"{OFTEN}\n{patch}", {**shim, **(environment or {})})

    def limit_s(self, verb: str) -> float:
        """Return how long a verb may take."""
        return max(AT_LEAST_S, TIMES_SLOWER * self.seconds.get(verb, AT_LEAST_S))

    def before(self, verb: str) -> Path:
        """Return the state in which a verb finds what it needs, and nothing of its own."""
        verbs = list(self.commands)
        earlier = AFTER.get(verb) or verbs[verbs.index(verb) - 1]
        return self.states / earlier if earlier == "nothing" else self.after(earlier)

    def after(self, verb: str) -> Path:
        """Return the state after a verb that nothing has disturbed."""
        state = self.states / verb
        if not state.exists():
            self.restore(self.before(verb))
            self.shared.reset()
            began = time.monotonic()
            program = self.start(verb)
            if not program.wait(10 * AT_LEAST_S) or program.code:
                raise RuntimeError(f"autoseg {verb} on {self.name}: {program.code} {program.text}")
            self.seconds[verb] = time.monotonic() - began
            self.operations[verb] = self.shared.operations()
            self.keep(state)
        return state

    def restore(self, state: Path) -> None:
        """Make `work` what it was."""
        shutil.rmtree(self.work)
        shutil.copytree(state, self.work)

    def keep(self, state: Path) -> None:
        """Note how `work` stands."""
        shutil.copytree(self.work, state)

    def has_ended(self, verb: str) -> bool:
        """Return whether `work` is as after an undisturbed verb."""
        return not differences(self.after(verb), self.work)

    def require_end(self, verb: str, tally: Tally, program: Program | None = None) -> bool:
        """Let a verb end, anew or already started, with all that it was to do; note what is not as if undisturbed."""
        about, expected = f"{self.name} {verb}", self.after(verb)
        program = program or self.start(verb)
        if not program.wait(self.limit_s(verb)):
            tally.note("hung", f"{about}: {program.text[-300:]}")
        elif program.code:
            tally.note("corrupt", f"{about}: exit code {program.code}: {program.text[-300:]}")
        else:
            for difference in differences(expected, self.work):
                tally.note("corrupt", f"{about}: {difference}")
            for left in leftovers(self.work):
                tally.note("left over", f"{about}: {left}")
        self.require_alone(verb, tally, program)
        return program.code == 0

    def require_alone(self, verb: str, tally: Tally, program: Program) -> None:
        """Note the processes of a program that live after its end."""
        for survivor in program.survivors():
            tally.note("left over", f"{self.name} {verb}: {survivor}")


def _copy_cases(dataset: Path, to: Path, cases: int) -> Path:
    """Copy the first cases; return the folder of their label maps."""
    described = json.loads((dataset / "dataset.json").read_text())
    described["training"] = described["training"][:cases]
    for pair in described["training"]:
        for file in pair.values():
            (to / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(dataset / file, to / file)
    (to / "dataset.json").write_text(json.dumps(described))
    return to / "labelsTr"


def _make_phantoms(to: Path) -> Path:
    from autoseg.phantom.cohort import write_cohort

    return write_cohort(to, cases=PHANTOMS, seed=0, jobs=1) / "labelsTr"
