"""RUN/log.txt: the commands, what happened, and the traceback of what failed; nothing twice."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from autoseg.cli.console import Once, PrintableFormatter, is_first_process
from autoseg.run import Run

logger = logging.getLogger("autoseg")


@contextmanager
def logging_to(run: Run) -> Iterator[None]:
    """Write the command, what happens, and the traceback of what fails, to RUN/log.txt.

    A folder that is no RUN stays as it is; where it becomes one meanwhile, all is written then. Within another one of
    these, as in a command of several steps, nothing is done: that one writes.
    """
    if not is_first_process() or any(isinstance(handler, _RunLog) for handler in logger.handlers):
        yield
        return
    log, level = _RunLog(run), logger.level
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    try:
        logger.info("%s", shlex.join(["autoseg", *sys.argv[1:]]))
        yield
    except Exception:
        logger.exception("failed")
        raise
    finally:
        logger.removeHandler(log)
        logger.setLevel(level)
        log.close()


class _File(logging.FileHandler):
    """Leaves out what the disk does not take: whoever needs the disk for more fails, and that is told."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Say nothing of the disk, of anything else as usual."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        """Close the file; what waits for the disk still may be too much for it."""
        with suppress(OSError):
            super().close()


class _RunLog(logging.Handler):
    """Writes to RUN/log.txt as soon as the folder is a RUN."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        self._file = _File(run.log_file, encoding="utf-8", delay=True)
        self._file.setFormatter(PrintableFormatter("%(asctime)s %(levelname)s %(message)s"))
        self._waiting: list[logging.LogRecord] = []
        self.addFilter(Once())

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, now or later."""
        self._waiting.append(record)
        self._write()

    def close(self) -> None:
        """Write what waits, if the folder has become a RUN."""
        self._write()
        self._file.close()
        super().close()

    def _write(self) -> None:
        if self._run.plan_file.is_file():
            with suppress(OSError):  # it cannot be opened
                for record in self._waiting:
                    self._file.emit(record)
            self._waiting.clear()
