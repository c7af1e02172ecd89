"""How a setting is declared: a field of a frozen dataclass, with its documentation beside it."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

T = TypeVar("T")


def setting(
    default: T, doc: str, *, changes_samples: bool = False, minimum: float | None = None, maximum: float | None = None
) -> T:
    """Declare one setting.

    Args:
        default: its value where nobody sets it; lists and dicts are copied for each instance.
        doc: one line for the reference, with units.
        changes_samples: whether another value can give other samples; then it is part of the fingerprint.
        minimum: the smallest value allowed, for numbers.
        maximum: the largest.

    Returns:
        A dataclass field, typed as its value so that type checkers see the plain type.
    """
    metadata = {"doc": doc, "changes_samples": changes_samples, "minimum": minimum, "maximum": maximum}
    field: Any
    if isinstance(default, (list, dict)):
        field = dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    else:
        field = dataclasses.field(default=default, metadata=metadata)
    return field  # type: ignore[no-any-return]
