"""One guard that is taken away."""

from attrs import frozen


@frozen
class Mutant:
    """In *file*, the text *old* becomes *new*: then *rule* is broken, and of *tests* one at least must fail."""

    rule: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
