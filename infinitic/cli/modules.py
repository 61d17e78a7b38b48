"""Modules: imported by name from the working directory, and searched for what a worker can serve."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from attrs import frozen

from dsl.services import Service, Task
from dsl.workflows import Method, Workflow, WorkflowFunction
from infinitic.errors import InfiniticError, RegistrationError
from infinitic.worker.registry import is_implemented

OURS = Path(__file__).parents[1]


@frozen
class Found:
    """What modules hold for a worker. *contracts* are the services that nothing there implements."""

    workflows: tuple[Any, ...]
    services: tuple[Any, ...]
    contracts: tuple[str, ...] = ()


def load(names: Sequence[str]) -> Found:
    """All definitions in the namespaces of these modules, each once. Raises `RegistrationError`."""
    values = [value for name in names for value in vars(imported(name)).values()]
    found = definitions(values)
    if not found.workflows and not found.services:
        hint = (
            f"Implement {', '.join(found.contracts)} in a subclass."
            if found.contracts
            else "Decorate functions with @workflow or @task, or write classes of Workflow or Service."
        )
        raise RegistrationError(f"{', '.join(names)}: no workflow and no service to serve", hint)
    return found


# ---------------------------------------------------------------------------------------------- importing


def imported(name: str) -> ModuleType:
    """The module of this name, or in this file, as seen from the working directory."""
    path = Path(name) if name.endswith(".py") or "/" in name else None
    module = _module_of_file(path) if path is not None else name
    directory = str(Path.cwd())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise RegistrationError(f"There is no module {name}", _module_hint(name)) from None
        raise _broken(name, error) from error
    except InfiniticError:
        raise
    except Exception as error:
        raise _broken(name, error) from error
    there = getattr(found, "__file__", None)
    if path is not None and not (there and path.samefile(there)):
        problem = f"{name} would be imported as {module}, which is {there or 'a part of Python itself'} already"
        raise RegistrationError(problem, "Rename one, or put them into packages.")
    return found


def _module_of_file(path: Path) -> str:
    """The name to import a file by, whose root is put on the path: the folder that holds its packages."""
    if not path.is_file():
        raise RegistrationError(f"There is no file {path}", _module_hint(path.stem))
    root, parts = path.resolve().parent, [path.stem]
    while (root / "__init__.py").exists():
        root, parts = root.parent, [root.name, *parts]
    sys.path.insert(0, str(root))
    return ".".join(parts)


def _module_hint(name: str) -> str:
    there = sorted({path.stem for path in Path.cwd().glob("*.py")} | _packages())
    near = get_close_matches(name.replace("/", "."), there, n=1)
    if near:
        return f"Did you mean {near[0]}?"
    here = (
        f"There {'is' if len(there) == 1 else 'are'} {', '.join(there[:10])}." if there else "There is no Python file."
    )
    return f"Modules are looked for in the working directory {Path.cwd()}. {here}"


def _packages() -> set[str]:
    return {path.parent.name for path in Path.cwd().glob("*/__init__.py")}


def _broken(name: str, error: Exception) -> RegistrationError:
    frames = [one for one in traceback.extract_tb(error.__traceback__) if not _is_passed_over(one.filename)]
    place = f"{frames[-1].filename}:{frames[-1].lineno}: " if frames else ""
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}:{error.lineno}: "
    problem = f"{place}{type(error).__name__}: {error}"
    return RegistrationError(f"{name} cannot be imported: {problem}", "--debug shows the traceback.")


def _is_passed_over(file: str) -> bool:
    """Whether a frame in *file* is not the user's: what is wrong stands in the line that called it."""
    return (
        file.startswith("<")
        or "importlib" in file
        or Path(file).is_relative_to(OURS)
        or Path(file).is_relative_to(OURS.with_name("dsl"))
    )


# -------------------------------------------------------------------------------------------- definitions


def definitions(values: Iterable[Any]) -> Found:
    """The workflows and services among these values: implementations go before what they implement."""
    unique = list({id(value): value for value in values}.values())
    services = [value for value in unique if _is_service(value)]
    kept = [value for value in services if not any(_replaces(other, value) for other in services)]
    contracts: list[type[Service]] = [value for value in kept if isinstance(value, type) and _is_contract(value)]
    return Found(
        workflows=tuple(value for value in unique if _is_workflow(value)),
        services=tuple(value for value in kept if value not in contracts),
        contracts=tuple(sorted(value.service_name for value in contracts)),
    )


def _is_workflow(value: Any) -> bool:
    if isinstance(value, type) and issubclass(value, Workflow):
        return any(isinstance(one, Method) for one in value.members().values())
    return isinstance(value, WorkflowFunction)


def _is_service(value: Any) -> bool:
    if isinstance(value, type):
        return issubclass(value, Service) and bool(value.tasks())
    return isinstance(value, Service) or (isinstance(value, Task) and not value.bound)


def _replaces(one: Any, other: Any) -> bool:
    """Whether *one* serves what *other* declares: a subclass of it, or an instance of it or of a subclass."""
    if one is other or not isinstance(other, type):
        return False
    return issubclass(one, other) if isinstance(one, type) else isinstance(one, other)


def _is_contract(service: type[Service]) -> bool:
    return not any(is_implemented(task) for task in service.tasks().values())
