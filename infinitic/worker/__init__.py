"""Workers: processes that execute tasks, or advance workflows, or both."""

from infinitic.worker.serving import Worker

__all__ = ["Worker"]
