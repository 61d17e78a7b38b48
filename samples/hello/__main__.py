"""Worker and client in one process: `python -m samples.hello Ada`."""

import sys

from infinitic import Client, Worker
from samples.hello.services import PlainGreetings
from samples.hello.workflow import hello

name = sys.argv[1] if len(sys.argv) > 1 else "world"

with Worker("memory://", workflows=[hello], services=[PlainGreetings]), Client("memory://") as client:
    print(client.run(hello(name), timeout=10))
