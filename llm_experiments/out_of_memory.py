"""Going on with less at a time where memory does not suffice."""

import gc
import re
from collections.abc import Callable
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def is_out_of_memory(error: BaseException) -> bool:
    """Of a device or of the machine; torch has no type of its own for the latter."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = "out of memory|not enough memory|can't allocate memory|bad_alloc"
    return isinstance(error, RuntimeError) and bool(re.search(words, str(error)))


def free_memory() -> None:
    """Back to the device what nothing holds any more; a machine's own memory needs no asking."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


def in_pieces(compute: Callable[[list[Item]], Result], items: list[Item]) -> list[tuple[list[Item], Result]]:
    """`compute(items)` with its items or, where memory does not suffice, the same of their halves, and so on.

    Raises:
        whatever `compute` raises, and its error if one item is too many.
    """
    try:
        return [(items, compute(items))]
    except (RuntimeError, MemoryError) as error:
        if len(items) == 1 or not is_out_of_memory(error):
            raise
    free_memory()  # out of the except clause, whose traceback holds on to the memory
    middle = len(items) // 2
    return in_pieces(compute, items[:middle]) + in_pieces(compute, items[middle:])
