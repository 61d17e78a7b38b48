"""Logs: what library and workflows log, as one readable line each on the standard error."""

from __future__ import annotations

import logging

LEVELS = (
    # of everything else, of this library and of workflows
    (logging.WARNING, logging.INFO),
    (logging.INFO, logging.DEBUG),
    (logging.DEBUG, logging.DEBUG),
)


class Lines(logging.Formatter):
    """As in `09:18:20 warning trip trip-42: the text`; with *whose*, `09:18:20 process 2: warning …`."""

    def __init__(self, whose: str = "") -> None:
        super().__init__()
        self._whose = f"{whose}: " if whose else ""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and below it a traceback where there is one."""
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()} "
        workflow, workflow_id = getattr(record, "workflow", ""), getattr(record, "workflow_id", "")
        about = f"{workflow} {workflow_id}: " if workflow_id else ""
        text = f"{self.formatTime(record, '%H:%M:%S')} {self._whose}{level}{about}{record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def log_to_stderr(verbose: int, whose: str = "") -> None:
    """Log to stderr: the more *verbose* (0 to 2), the more. *whose* begins each line, where several processes log."""
    others, ours = LEVELS[min(verbose, 2)]
    handler = logging.StreamHandler()
    handler.setFormatter(Lines(whose))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(others)
    logging.getLogger("infinitic").setLevel(ours)


def log_nowhere() -> None:
    """Keep what is logged off the terminal: a command says itself what there is to say."""
    logging.getLogger("infinitic").addHandler(logging.NullHandler())
