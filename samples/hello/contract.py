"""What greets: all that a workflow, or another team, needs to know of the service."""

from infinitic import Service, task


class Greetings(Service):
    @task
    def greet(self, name: str) -> str:
        raise NotImplementedError

    @task
    def cheer(self, text: str, marks: int = 1) -> str:
        raise NotImplementedError
