"""Making what a loop needs next while it is busy: in a thread, a few items ahead."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

# Enough to bridge a step that takes long to make; each one holds a whole batch in memory.
AHEAD = 3

P = ParamSpec("P")
Item = TypeVar("Item")


def prefetched(
    make: Callable[P, Iterator[Item]], *args: P.args, **kwargs: P.kwargs
) -> Iterator[Item]:
    """Iterate over ``make(*args, **kwargs)``, whose items are made by another thread.

    One thread makes one item after the other, so they are the same ones in the same order. It
    stops when the iteration ends in any way: at the end, by ``break`` or by an exception.

    Args:
        make: Returns the iterator, for example `training.batches.batches`.
        *args: Its arguments.
        **kwargs: Its keyword arguments.

    Yields:
        Its items. At most `AHEAD` of them are made before they are asked for.

    Raises:
        BaseException: What making an item raised, in its turn.

    Example:
        >>> list(prefetched(lambda count: iter(range(count)), 3))
        [0, 1, 2]
    """
    items = make(*args, **kwargs)
    end = object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    try:
        waiting = deque(pool.submit(next, items, end) for _ in range(AHEAD))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, items, end))
            yield item  # type: ignore[misc]  # end is no item, and never gets here
    finally:
        pool.shutdown(cancel_futures=True)
