"""Where media is opened: one child process of each Python worker, kept for many files."""

from __future__ import annotations

from v2d_spark.udfs.engine.media_child import DEFAULT_MEMORY_LIMIT, Look, MediaChild, media_child

__all__ = ["DEFAULT_MEMORY_LIMIT", "Look", "MediaChild", "media_child"]
