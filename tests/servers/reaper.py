"""The process that waits for its parent's end, then kills and removes what that left behind. Run as a script."""

import os
import shutil
import signal
import sys
import time


def main() -> None:
    os.setsid()
    pids, folders = set(), []
    for line in sys.stdin:
        verb, what = line.rstrip("\n").split(" ", 1)
        if verb == "remove":
            folders.append(what)
        elif verb == "kill":
            pids.add(int(what))
        else:
            pids.discard(int(what))
    for pid in filter(lives, pids):
        os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 5
    while any(map(lives, pids)) and time.monotonic() < until:
        time.sleep(0.01)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
