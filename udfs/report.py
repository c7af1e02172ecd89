"""What tasks count: they hand it to the driver, which adds up those of a batch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_MESSAGES_KEPT = 50


@dataclass
class Report:
    """What a task did; the driver adds up those of a batch."""

    statuses: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    samples: int = 0
    bytes: int = 0
    not_started: int = 0

    def count(self, row: Mapping[str, Any], samples: int) -> None:
        """Add one outcome.

        Args:
            row: of a source, as `media` has it.
            samples: how many samples were made of it.
        """
        self.statuses[row["status"]] += 1
        self.samples += samples
        self.bytes += row["bytes"] or 0
        if row["error_class"]:
            self.errors[row["error_class"]] += 1
            self.messages[f"{row['error_class']}: {row['error_message']}"] += 1

    def add(self, other: Report) -> None:
        """Add another task's report."""
        self.statuses += other.statuses
        self.errors += other.errors
        self.messages += other.messages
        self.samples += other.samples
        self.bytes += other.bytes
        self.not_started += other.not_started

    def to_json(self) -> str:
        """The report as JSON; of the messages only the commonest."""
        return json.dumps({**self.__dict__, "messages": dict(self.messages.most_common(_MESSAGES_KEPT))})

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The report that `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        counters: dict[str, Any] = {key: Counter(value) for key, value in values.items() if isinstance(value, dict)}
        return cls(**values | counters)
