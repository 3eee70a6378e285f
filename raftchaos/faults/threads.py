"""What blocks runs in a thread, so that the loop goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")


async def blocking(function: Callable[..., T], *arguments: Any, pool: Executor | None = None) -> T:
    """Run it in a thread of the pool, or of the loop's own. A cancellation waits for its end: nothing is done behind
    one's back, and what it holds is held until then."""
    work = asyncio.get_running_loop().run_in_executor(pool, function, *arguments)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise
