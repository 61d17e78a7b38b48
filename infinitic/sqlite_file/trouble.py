"""What can be wrong with the database file or where it lies, as one line with a hint."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from infinitic.errors import OperatorError, StorageError

Kind: TypeAlias = Callable[[str, str], OperatorError]
"""What is raised: `StorageError` or `TransportError`."""

OLDEST = (3, 35, 0)  # the first with RETURNING
MOUNTS = Path("/proc/self/mounts")
NETWORK = frozenset(
    {
        "9p",
        "afp_fuse",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "drvfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
    }
    | {"nfs", "nfs3", "nfs4", "prl_fs", "smb", "smb2", "smb3", "smbfs", "vboxsf", "webdav"}
    | {f"fuse.{name}" for name in ("ceph", "glusterfs", "grpcfuse", "osxfs", "rclone", "s3fs", "sshfs")}
)

GIVE_ACCESS = "Give write access to the file and to its folder, or name another file."

# by the beginning of SQLite's name for the error; the first that fits
REASONS = (
    (
        "SQLITE_BUSY",
        "{path} has been locked by another program for more than 5 s",
        "Close the tool that writes to it (a database browser, a backup), then try again.",
    ),
    (
        "SQLITE_READONLY",
        "{path} cannot be written by this user",
        GIVE_ACCESS,
    ),
    (
        "SQLITE_FULL",
        "the disk that holds {path} is full",
        "Free some space: nothing of the last step was written.",
    ),
    (
        "SQLITE_NOTADB",
        "{path} is not a SQLite database",
        "Name another file, or remove this one if nobody needs it.",
    ),
    (
        "SQLITE_CORRUPT",
        "{path} is damaged ({error})",
        "Stop all workers and clients, then restore a backup or try `sqlite3 FILE .recover`.",
    ),
    (
        "SQLITE_CANTOPEN",
        "{path} cannot be opened",
        "A file that this user may read and write is needed, in a folder it may write to.",
    ),
    ("SQLITE_IOERR", "{path} cannot be read or written ({error})", "Check the disk and its free space."),
)


def explained(path: Path, error: Exception, kind: Kind = StorageError) -> OperatorError:
    """What SQLite's *error* means for whoever runs the system."""
    name = getattr(error, "sqlite_errorname", "") or ""
    for start, message, hint in REASONS:
        if name.startswith(start):
            return kind(message.format(path=path, error=error), hint)
    return kind(f"{path}: SQLite says '{error}'", "See whether the disk is sound and has room.")


def explained_os(path: Path, error: OSError, kind: Kind = StorageError) -> OperatorError:
    """The same for an error of the operating system."""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return kind(f"{path} cannot be written by this user ({error.strerror})", GIVE_ACCESS)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return kind(f"the disk that holds {path} is full", "Free some space, then try again.")
    return kind(f"{path} cannot be used ({error.strerror})", "A file in a folder of a local disk is needed.")


@contextmanager
def explaining_os(path: Path, kind: Kind = StorageError) -> Iterator[None]:
    """Turns what the operating system raises inside into our error."""
    try:
        yield
    except OSError as error:
        raise explained_os(path, error, kind) from error


def refuse_platform(platform: str, sqlite: tuple[int, int, int]) -> None:
    """Raises where the embedded backend cannot keep its promises."""
    if platform == "win32":
        raise StorageError(
            "the SQLite backend does not run on Windows, which has no flock",
            "Use WSL with a file on its own disk, or a server: redis://, mysql://, postgresql://.",
        )
    if sqlite < OLDEST:
        raise StorageError(
            f"this Python comes with SQLite {'.'.join(map(str, sqlite))}, and 3.35.0 or newer is needed",
            "Use a newer Python.",
        )


def refuse_read_only(path: Path) -> None:
    """Raises when the file, or the folder for the files beside it, cannot be written."""
    for place in filter(Path.exists, (path.parent, path)):
        if not os.access(place, os.R_OK | os.W_OK):
            raise StorageError(f"{place} cannot be written by this user", GIVE_ACCESS)


def refuse_network(path: Path, mounts: str) -> None:
    """Raises when *path* lies on a network file system, by the text of /proc/mounts."""
    system = file_system(path, mounts)
    if system in NETWORK:
        raise StorageError(
            f"{path} lies on a network file system ({system}), where locks cannot be trusted",
            "Name a file on a local disk, or use a server: redis://, mysql://, postgresql://.",
        )


def file_system(path: Path, mounts: str) -> str:
    """The type of the file system that holds *path*, "" when it is not told."""
    best, found = -1, ""
    for line in mounts.splitlines():
        _, point, system, *_ = [*line.split(" "), "", "", ""]
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point)
        if point and len(point) >= best and path.is_relative_to(point):
            best, found = len(point), system
    return found


def read_mounts() -> str:
    """What is mounted where; "" on a system that does not tell."""
    try:
        return MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
