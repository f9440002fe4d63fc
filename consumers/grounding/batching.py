"""Batches across cameras: full, or as old as the deadline allows. Pure; the clock is passed in (seconds)."""

from __future__ import annotations

from typing import Generic, TypeVar

Item = TypeVar("Item")


class Batcher(Generic[Item]):
    """Collects items in the order they come; a batch is due at `size` items or `deadline_s` after its first."""

    def __init__(self, size: int, deadline_s: float) -> None:
        self._size = size
        self._deadline_s = deadline_s
        self._items: list[Item] = []
        self._due_at = 0.0

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: Item, now: float) -> None:
        """Appends an item; the first one starts the deadline."""
        if not self._items:
            self._due_at = now + self._deadline_s
        self._items.append(item)

    def due(self, now: float) -> bool:
        """Whether a batch should go now."""
        return len(self._items) >= self._size or (bool(self._items) and now >= self._due_at)

    def wait(self, now: float) -> float | None:
        """Seconds until the batch is due, None while there is nothing to wait for."""
        if not self._items:
            return None
        return 0.0 if self.due(now) else self._due_at - now

    def take(self) -> list[Item]:
        """The oldest items, at most `size`; the rest keeps its deadline."""
        batch, self._items = self._items[: self._size], self._items[self._size :]
        return batch
