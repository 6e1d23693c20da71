"""What can go wrong by a user's mistake or by bad data: one line each, with the way out."""

from autoseg.words import counted

MOST_LINES = 20  # of cases that failed, in a message


class AutosegError(Exception):
    """A user's or data error; its text names the file or case, what was found, and the way out."""


class DatasetError(AutosegError):
    """The dataset as a whole cannot be used."""


class VolumeError(AutosegError):
    """An image or label file cannot be read or written, or its voxels cannot be used."""


class PlanError(AutosegError):
    """A plan is not valid, or the request for one is not."""


class RunError(AutosegError):
    """A RUN folder lacks what a verb needs."""


class LockedError(RunError):
    """Another process writes to a folder, or to a file in it."""


class ModelError(AutosegError):
    """A model or checkpoint file is damaged, foreign, or does not fit its plan."""


class DamagedModelError(ModelError):
    """A model or checkpoint file is cut short, or its bytes have changed."""


class TrainingError(AutosegError):
    """Training cannot go on."""


class TeamLostError(TrainingError):
    """Another of the processes that train together has ended before its time."""


class TooLittleMemoryError(AutosegError):
    """The device or the machine has too little memory for the network."""


class DeviceError(AutosegError):
    """The device cannot compute what the network asks for."""


class CasesFailedError(AutosegError):
    """Some cases failed; the others were finished."""

    def __init__(self, verb: str, causes: dict[str, str], done: int) -> None:
        """Tell which cases failed.

        Args:
            verb: What was tried, as in "predict".
            causes: Case id to its one-line cause.
            done: Number of cases that succeeded.
        """
        lines = "\n".join(f"  {case}: {cause}" for case, cause in list(causes.items())[:MOST_LINES])
        if len(causes) > MOST_LINES:
            lines += f"\n  … and {len(causes) - MOST_LINES} more"
        others = ", the others are done" if done else ""
        super().__init__(f"{verb}: {len(causes)} of {counted(len(causes) + done, 'case')} failed{others}:\n{lines}")
        self.causes = causes
        self.done = done
