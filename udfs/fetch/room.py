"""Room on disk, and in memory, that the downloads of a task share."""

from __future__ import annotations

import threading

from v2d_spark.udfs.vocabulary import SampleError


class Room:
    """Bytes that may lie on disk at once, and in memory, given out in shares.

    On disk the oldest share always gets what it asks for, since what is younger may be waiting for it to be done. So at
    most `limit` bytes and one source lie there, and what the videos that are being fetched from platforms are made of: that is
    noted, so that others wait, but waits for nobody. Memory is given while there is some, and nobody waits for it.

    Args:
        limit: bytes on disk.
        memory_limit: bytes of sources that are held in memory.
        direct_files: files that are written past the page cache at once, each through memory of its own.
    """

    def __init__(self, limit: int, memory_limit: int = 0, direct_files: int = 0) -> None:
        self._limit = limit
        self._memory_limit = memory_limit
        self._memory_left = memory_limit
        self._changed = threading.Condition()
        self._held: dict[Share, int] = {}  # by age
        self._in_memory: dict[Share, int] = {}
        self._direct_left = direct_files
        self._direct: set[Share] = set()
        self._sum = 0
        self._waiters = 0
        self._closed = False

    def share(self) -> Share:
        """A new share, younger than all others."""
        with self._changed:
            share = Share(self)
            self._held[share] = 0
            return share

    def is_short(self) -> bool:
        """Whether it is time to be done with what has come, before more is begun."""
        return self._waiters > 0 or self._memory_left < self._memory_limit // 4 or self._sum > self._limit - self._limit // 4

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _wait_for(self, share: Share, size: int) -> None:
        """Wait until a share may hold this many bytes, and note that it does; fewer than it holds change nothing."""
        with self._changed:
            self._waiters += 1
            self._changed.wait_for(lambda: self._closed or self._fits(share, size))
            self._waiters -= 1
            if self._closed:
                raise SampleError("storage", "the task ended while this waited for room in scratch_dir")
            self._set(share, max(size, self._held[share]))

    def _fits(self, share: Share, size: int) -> bool:
        return self._sum + size - self._held[share] <= self._limit or next(iter(self._held)) is share

    def _set(self, share: Share, size: int) -> None:
        self._sum += size - self._held[share]
        self._held[share] = size

    def _hold_now(self, share: Share, size: int) -> None:
        with self._changed:
            if share in self._held:
                self._set(share, size)
                self._changed.notify_all()

    def _take_memory(self, share: Share, size: int) -> bool:
        with self._changed:
            if size > self._memory_left or share not in self._held:
                return False
            self._memory_left -= size
            self._in_memory[share] = self._in_memory.get(share, 0) + size
            return True

    def _take_direct(self, share: Share) -> bool:
        with self._changed:
            if share in self._direct:
                return True
            if not self._direct_left or share not in self._held:
                return False
            self._direct_left -= 1
            self._direct.add(share)
            return True

    def _end_direct(self, share: Share) -> None:
        with self._changed:
            if share in self._direct:
                self._direct.remove(share)
                self._direct_left += 1

    def _give_back(self, share: Share) -> None:
        with self._changed:
            self._memory_left += self._in_memory.pop(share, 0)
            if share in self._held:
                self._set(share, 0)
                self._changed.notify_all()

    def _end(self, share: Share) -> None:
        with self._changed:
            self._memory_left += self._in_memory.pop(share, 0)
            self._set(share, 0)
            del self._held[share]
            self._changed.notify_all()


class Share:
    """What one source may take of a `Room`."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def wait(self) -> None:
        """Wait until there is any room.

        Raises:
            SampleError: `storage`, if the room was closed.
        """
        self._room._wait_for(self, 1)

    def hold(self, size: int) -> None:
        """Wait until there is room for a source of this size.

        Args:
            size: bytes in all, not those to be added.

        Raises:
            SampleError: `storage`, if the room was closed.
        """
        self._room._wait_for(self, size)

    def hold_now(self, size: int) -> None:
        """Note what lies on disk already: what was made of a source takes another size. Nobody waits for it.

        Args:
            size: bytes in all.
        """
        self._room._hold_now(self, size)

    def take_memory(self, size: int) -> bool:
        """Ask for bytes of memory, which are held until all is given back.

        Args:
            size: bytes.

        Returns:
            Whether they are there.
        """
        return self._room._take_memory(self, size)

    def take_direct(self) -> bool:
        """Ask to write a file past the page cache, until `end_direct`.

        Returns:
            Whether it may be.
        """
        return self._room._take_direct(self)

    def end_direct(self) -> None:
        """The file is closed; nothing happens where there was none."""
        self._room._end_direct(self)

    def give_back(self) -> None:
        """Hold nothing; what was held is on disk, and in memory, no more."""
        self._room._give_back(self)

    def end(self) -> None:
        """Hold nothing and ask for nothing more: the next share is the oldest."""
        self._room._end(self)
