"""torchrun, with one line for what went wrong: `python -m autoseg.network.launch FILE …`, its arguments after FILE."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from autoseg.files import write_text
from autoseg.processes import end_with_parent

SHUTDOWN_S = 5  # that the others have to end by themselves when one has failed; files are whole at any moment


def why_failed(failures: Mapping[int, ProcessFailure]) -> str:
    """Return, in one line, why a team has failed; of several reasons the first that is not another's consequence.

    Args:
        failures: Of its processes, by rank.
    """
    in_time = sorted(failures.items(), key=lambda of_rank: of_rank[1].timestamp)
    messages = [failure.error_file_data["message"] for _, failure in in_time]
    explained = [message for message in messages if isinstance(message, dict)]  # by `report_failure`
    if explained:
        return str(explained[0]["message"])
    # SIGTERM is torchrun's own, SIGABRT how NCCL ends a process that waits in vain for another
    consequences = (-signal.SIGTERM, -signal.SIGABRT)
    killed = [rank for rank, failure in in_time if failure.exitcode < 0 and failure.exitcode not in consequences]
    if killed:
        how = failures[killed[0]].signal_name()
        return f"process {killed[0]} of the team was killed ({how}), most likely for lack of memory"
    return f"process {in_time[0][0]} of the team failed, it has said why above"


def _short_wait() -> list[str]:
    """Return what makes torchrun kill those that do not end when one of them has failed, where it can be told.

    A process that waits for a GPU, which waits for another process, hears no signal; without this it lives 30 s.
    """
    option = "--shutdown-timeout"
    return [f"{option}={SHUTDOWN_S}"] if option in run.get_args_parser().format_help() else []  # torch 2.13


def main(file: Path, arguments: list[str]) -> int:
    """Be torchrun; where the team fails write why to `file`. Return the exit code."""
    end_with_parent()
    logging.disable(logging.ERROR)  # of torchrun's own log
    try:
        run.main([*_short_wait(), *arguments])
    except ChildFailedError as error:
        write_text(file, why_failed(error.failures))
        return 1
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
