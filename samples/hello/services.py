"""How it greets: lives with the worker alone."""

from samples.hello.contract import Greetings


class PlainGreetings(Greetings):
    def greet(self, name: str) -> str:
        return f"Hello, {name}"

    def cheer(self, text: str, marks: int = 1) -> str:
        return text + "!" * marks
