"""Exceptions as data, and back: a failure of another process is raised here as what it was.

Nothing is imported by a name out of a message: a class that is not known here comes as `RemoteError`.
"""

from __future__ import annotations

import builtins
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from pathlib import PurePath
from types import ModuleType
from typing import Any, TypeAlias, TypeGuard, get_type_hints

import msgspec

from infinitic.errors import Attempt, EncodeError, PayloadError, RemoteError, TaskFailed, WorkflowFailed
from infinitic.events import ErrorValue, Frame
from infinitic.serialization import plain

DEEPEST = 10
_LONGEST_CHAIN = 128  # with the errors of ours that wrap the user's at each workflow on the way
_TRACEBACK = 8_192
_FRAMES = 30
_LONGEST = 65_536  # characters of a text, bytes of a field: an error travels in a message, which has its limit
_NOTES = 100
_ATTEMPTS, _GROUP = 16_384, 262_144  # bytes for the attempts of a task, for the errors of a group
_MOST = 524_288  # bytes in all
_SHORT = 4_096  # characters of a text in an error that would take more
_NESTED = "$error"  # {"$error": an ErrorValue}
_SAME = "$same"  # {"$same": "cause"} or {"$same": "fields.error"}
_Path: TypeAlias = tuple[BaseException, ...]
_SCALARS = (str, int, float, bool, type(None))
_set = BaseException.__setattr__  # a frozen class's own refuses


def error_value(error: BaseException, *, stack: tuple[Frame, ...] = (), above: _Path = ()) -> ErrorValue:
    """*error* as data, with its causes and the errors within it: ten deep, beneath what failed by them.

    *above* are the errors that it is a part of. *stack* replaces the frames of its traceback. What JSON cannot hold of
    its fields comes as its repr. An error that would take more than half a megabyte is told without its facts and
    those of its causes.
    """
    value = _told(error, stack, (*above, error))
    return _bare(value) if not above and _size(value) > _MOST else value


def _size(value: Any) -> int:
    return len(msgspec.json.encode(value))


def _bare(value: ErrorValue) -> ErrorValue:
    cause = None if value.cause is None else _bare(value.cause)
    notes = tuple(note[:_SHORT] for note in value.notes[:3])
    return ErrorValue(value.type, value.message[:_SHORT], cause=cause, notes=notes, stack=value.stack)


def _is_told(error: BaseException | None, path: _Path) -> TypeGuard[BaseException]:
    """Whether *error*, beneath those of the *path*, is near enough to be told, and is not one of them."""
    own = sum(not isinstance(one, TaskFailed | WorkflowFailed) for one in path)
    again = any(one is error for one in path)
    return error is not None and not again and own <= DEEPEST and len(path) <= _LONGEST_CHAIN


def _told(error: BaseException, stack: tuple[Frame, ...], path: _Path) -> ErrorValue:
    # what stands in for a class is described as that class, so that a third process may know it again
    stood = error if isinstance(error, RemoteError) else None
    described = (stood.type, stood.message) if stood is not None else (_type(type(error)), _message(error))
    cause = _cause(error)
    cause = cause if _is_told(cause, path) else None
    fields, args = _facts(error, cause, path)
    return ErrorValue(
        type=described[0],
        message=_clean(described[1]),
        fields=fields,
        args=args,
        cause=None if cause is None else error_value(cause, above=path),
        notes=tuple(map(_clean, _notes(error, fields))),
        stack=stack or _frames(error),
        traceback=_traceback(error),
    )


def _type(kind: type) -> str:
    module = kind.__module__
    return f"{_main() or module if module == '__main__' else module}:{kind.__qualname__}"


def _main() -> str:
    """The name by which other processes know the module that is `__main__` here; "" when there is none."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    return spec.name if spec is not None else PurePath(getattr(main, "__file__", None) or "").stem


def _message(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return str(error.message)
    try:
        return str(error)
    except Exception as another:
        return f"<str() of it raised {type(another).__name__}>"


def _clean(text: str) -> str:
    """Without lone surrogates, which no JSON holds; of a text that is too long the beginning."""
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}… ({len(text):,} characters in all)"
    return text.encode("utf-8", "backslashreplace").decode()


def _notes(error: BaseException, fields: dict[str, Any]) -> list[str]:
    notes = [str(note) for note in [*getattr(error, "__notes__", ())][:_NOTES]]
    if isinstance(error, BaseExceptionGroup) and len(fields["exceptions"]) < len(error.exceptions):
        notes.append(f"{len(error.exceptions) - len(fields['exceptions']):,} more exceptions of the group are left out")
    return notes


def _cause(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _traceback(error: BaseException) -> str:
    if error.__traceback__ is None:
        return ""
    try:
        lines = traceback.format_exception(type(error), error, error.__traceback__, chain=False)
    except Exception:
        lines = traceback.format_tb(error.__traceback__)
    return _clean("".join(lines)[-_TRACEBACK:])  # the end says what and where


def _frames(error: BaseException) -> tuple[Frame, ...]:
    found = traceback.extract_tb(error.__traceback__, limit=-_FRAMES)
    return tuple(Frame(one.filename, one.lineno or 0, one.name, _clean(one.line or "")) for one in found)


def _facts(
    error: BaseException, cause: BaseException | None, path: _Path
) -> tuple[dict[str, Any], tuple[Any, ...] | None]:
    """The fields and args as JSON data; None for args that JSON cannot hold."""
    if isinstance(error, RemoteError):
        return {name: _data(value, {}, path) for name, value in error.fields.items()}, None
    raw = _fields(error)
    names = {} if cause is None else {id(cause): "cause"}
    fields = {name: _data(value, names, path) for name, value in raw.items()}
    # what a field holds is only named in the args: an error within an error would double at every level
    shared = {id(value): f"fields.{name}" for name, value in raw.items() if not isinstance(value, _SCALARS)}
    names = shared | names
    if isinstance(error, TaskFailed):
        latest = (_attempt(one, names, path) for one in reversed(error.attempts))
        fields["attempts"] = _fitting(latest, _ATTEMPTS)[::-1]
    if isinstance(error, BaseExceptionGroup):
        return fields | {"exceptions": _fitting((_nested(one, path) for one in error.exceptions), _GROUP)}, None
    try:
        return fields, tuple(_strict(value, names, path) for value in _args(error))
    except (PayloadError, RecursionError):
        return fields, None


def _attempt(attempt: Attempt, names: dict[int, str], path: _Path) -> list[Any]:
    """An attempt of a task; of its error what it was and said, and not why and where."""
    told: Any = {_SAME: names.get(id(attempt.error))}
    if told[_SAME] is None:
        error = msgspec.structs.replace(error_value(attempt.error, above=path), cause=None, stack=(), traceback="")
        told = {_NESTED: msgspec.to_builtins(error)}
    return [attempt.number, told, attempt.worker, attempt.began, attempt.ended]


def _fitting(items: Iterable[Any], room: int) -> list[Any]:
    """As many of the first items as there is room for, in bytes."""
    kept = []
    for one in items:
        room -= _size(one)
        if room < 0:
            break
        kept.append(one)
    return kept


def _args(error: BaseException) -> tuple[Any, ...]:
    if type(error).__module__ == "builtins" and isinstance(error, OSError):
        args = error.__reduce__()[1]  # with the file's name, which is not among its args
        return args if isinstance(args, tuple) else error.args
    return error.args


def _fields(error: BaseException) -> dict[str, Any]:
    declared = [one.name for one in getattr(type(error), "__attrs_attrs__", ())]
    slots = [vars(base).get("__slots__", ()) for base in type(error).__mro__]
    declared += [name for of_base in slots for name in ([of_base] if isinstance(of_base, str) else of_base)]
    fields = {name: getattr(error, name) for name in declared if name[:2] != "__" and hasattr(error, name)}
    fields |= {str(name): value for name, value in vars(error).items() if name != "__notes__"}
    if isinstance(error, TaskFailed):
        fields.pop("attempts", None)  # which are told in their own way
    return fields


def _data(value: Any, names: dict[int, str], path: _Path) -> Any:
    """*value* as JSON data, or its repr."""
    try:
        return _strict(value, names, path)
    except (PayloadError, RecursionError):
        pass
    try:
        return _clean(repr(value))
    except Exception as another:
        return f"<repr() of it raised {type(another).__name__}>"


def _strict(value: Any, names: dict[int, str], path: _Path) -> Any:
    if id(value) in names:
        return {_SAME: names[id(value)]}
    if isinstance(value, BaseException):
        return _nested(value, path)
    if type(value) in (list, tuple):
        return [_strict(one, names, path) for one in value]
    data = plain.encode(value)
    if len(data) > _LONGEST:
        raise EncodeError(f"it takes {len(data):,} bytes")
    return msgspec.json.decode(data)


def _nested(error: BaseException, path: _Path) -> Any:
    if not _is_told(error, path):
        return _clean(f"{type(error).__name__}: {_message(error)}")
    return {_NESTED: msgspec.to_builtins(error_value(error, above=path))}


def rebuild(value: ErrorValue) -> BaseException:
    """A fresh exception: of its own class when this process has imported it, else a `RemoteError`.

    A user's `__init__` is not called: the fields are set, the cause and the notes restored.
    """
    cause = None if value.cause is None else rebuild(value.cause)
    fields = {name: _value(one, {"cause": cause}) for name, one in value.fields.items()}
    error = _own(value, fields, cause) or RemoteError(value.type, value.message, fields)
    if cause is not None:
        _set(error, "__cause__", cause)
    if value.notes:
        _set(error, "__notes__", list(value.notes))
    return error


def _value(data: Any, known: dict[str, Any]) -> Any:
    if isinstance(data, list):
        return [_value(one, known) for one in data]
    if not isinstance(data, dict) or len(data) != 1:
        return data
    if isinstance(data.get(_SAME), str):
        return known.get(data[_SAME], data)
    try:
        return rebuild(msgspec.convert(data[_NESTED], ErrorValue)) if _NESTED in data else data
    except (msgspec.ValidationError, RecursionError):
        return data


def _own(value: ErrorValue, fields: dict[str, Any], cause: BaseException | None) -> BaseException | None:
    """An exception of its own class; None when there is none here, or it will not be made this way."""
    kind = _class(value.type)
    if kind is None:
        return None
    fields = _typed(kind, fields)
    known = {"cause": cause, **{f"fields.{name}": one for name, one in fields.items()}}
    args = (value.message,) if value.args is None else tuple(_value(one, known) for one in value.args)
    try:
        return _made(kind, args, value.message, fields)
    except Exception:
        return None


def _class(name: str) -> type[BaseException] | None:
    module_name, _, path = name.partition(":")
    found: Any = _module(module_name)
    for part in path.split("."):
        # vars(), because getattr() may import lazily
        found = vars(found).get(part) if isinstance(found, ModuleType | type) else None
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


def _module(name: str) -> ModuleType | None:
    if name == "__main__":
        return None  # another program's
    return sys.modules.get("__main__" if name == _main() else name)


def _made(kind: type[BaseException], args: tuple[Any, ...], message: str, fields: dict[str, Any]) -> BaseException:
    if issubclass(kind, BaseExceptionGroup):
        error: BaseException = kind.__new__(kind, message, fields.pop("exceptions"))
    elif vars(builtins).get(kind.__name__) is kind:
        error = kind(*args)  # several keep what they were given out of reach
    else:
        error = kind.__new__(kind, *args)
        _set(error, "args", args)
    if isinstance(error, TaskFailed):
        fields = {**fields, "attempts": tuple(map(_attempted, fields.get("attempts", ())))}
    for name, one in fields.items():
        with suppress(AttributeError):  # a property of today's class
            object.__setattr__(error, name, one)
    return error


def _attempted(facts: Any) -> Attempt:
    number, error, worker, began, ended = facts
    return Attempt(int(number), error, str(worker), int(began), int(ended))


def _typed(kind: type[BaseException], fields: dict[str, Any]) -> dict[str, Any]:
    """The fields as the class, or its `__init__`, declares them: a date from its text, a tuple from its array."""
    hints: dict[str, Any] = {}
    for declares in (kind.__init__, kind):
        with suppress(Exception):
            hints |= get_type_hints(declares)
    return {name: _as_declared(one, hints.get(name, Any)) for name, one in fields.items()}


def _as_declared(data: Any, hint: Any) -> Any:
    if hint is Any or isinstance(data, BaseException):
        return data
    try:
        return plain.decoder(hint)(plain.encode(data))
    except plain.DECODE_ERRORS:
        return data
