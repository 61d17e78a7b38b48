"""The client: what starts, calls, queries, signals, cancels and awaits workflows."""

from infinitic.client.aio import AsyncClient, AsyncHandle
from infinitic.client.handles import Handle
from infinitic.client.sync import Client

__all__ = ["AsyncClient", "AsyncHandle", "Client", "Handle"]
