"""A model's batches: items of one shape, as many as fit, and whose fault a fault is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from v2d_spark.udfs.engine.model_batches import Batches
from v2d_spark.udfs.enrichers import Model
from v2d_spark.udfs.vocabulary import SampleError


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


class Sums(Model):
    """Adds up numbers of items, of which some fit at once; -1 is bad."""

    batch_size = 4

    def __init__(self, fits: int) -> None:
        self.fits = fits
        self.batches: list[int] = []

    def setup(self, device: str) -> None: ...

    def process(self, batch: Sequence[Any]) -> Sequence[Any]:
        assert len({item.shape for item in batch}) == 1
        self.batches.append(len(batch))
        if sum(item.size for item in batch) > self.fits:
            raise OutOfMemoryError
        if any((item == -1).any() for item in batch):
            raise ValueError("it is bad")
        if any((item == -2).any() for item in batch):
            raise RuntimeError("CUDA error: device-side assert triggered")
        return [int(item.sum()) for item in batch]

    def conclude(self, columns: dict[str, Any], answers: Iterator[Any], output: str) -> dict[str, Any]:
        return columns | {"sums": list(answers)}


def sample(folder: Path, name: str, items: Any) -> dict[str, Any]:
    np.save(folder / f"{name}.npy", np.array(items))
    return {"path": str(folder / f"{name}.npy"), "columns": {"name": name}, "output": str(folder / name)}


def test_items_of_several_samples_go_together(tmp_path: Path) -> None:
    model = Sums(fits=100)
    samples = [
        sample(tmp_path, "a", [[1], [2], [3]]),
        sample(tmp_path, "none", np.zeros((0, 1))),
        sample(tmp_path, "b", [[4], [5], [6]]),
        sample(tmp_path, "other", [[1, 2], [3, 4]]),
    ]
    told = Batches(model).run(samples)
    assert told == [
        {"name": "a", "sums": [1, 2, 3]},
        {"name": "none", "sums": []},
        {"name": "b", "sums": [4, 5, 6]},
        {"name": "other", "sums": [3, 7]},
    ]
    assert model.batches == [4, 2, 2]


def test_a_batch_that_does_not_fit_is_halved_and_the_size_is_remembered(tmp_path: Path) -> None:
    model = Sums(fits=6)
    batches = Batches(model)
    items = np.arange(18).reshape(6, 3)
    assert batches.run([sample(tmp_path, "a", items)]) == [{"name": "a", "sums": list(items.sum(1))}]
    assert model.batches == [4, 2, 2, 2]
    model.batches.clear()
    batches.run([sample(tmp_path, "a", items), sample(tmp_path, "small", np.ones((6, 1)))])
    assert model.batches == [2, 2, 2, 4, 2]  # of each shape its own


def test_what_does_not_fit_alone_is_its_own_fault(tmp_path: Path) -> None:
    model = Sums(fits=6)
    good, large = sample(tmp_path, "good", [[1], [2]]), sample(tmp_path, "large", [[1] * 7] * 2)
    told = Batches(model).run([good, large, good])
    assert told[0] == told[2] == {"name": "good", "sums": [1, 2]}
    assert isinstance(told[1], SampleError)
    assert (told[1].error_class, "(7,)" in told[1].message) == ("model_memory", True)


def test_the_sample_that_fails_alone_is_the_bad_one(tmp_path: Path) -> None:
    samples = [sample(tmp_path, str(number), [[number]]) for number in (0, 1, -1, 3)]
    told = Batches(Sums(fits=100)).run(samples)
    assert [isinstance(one, ValueError) for one in told] == [False, False, True, False]
    assert told[3] == {"name": "3", "sums": [3]}


def test_where_the_device_failed_nothing_is_gone_on_with(tmp_path: Path) -> None:
    samples = [sample(tmp_path, str(number), [[number]]) for number in (0, -2)]
    with pytest.raises(RuntimeError, match="device-side assert"):
        Batches(Sums(fits=100)).run(samples)


def test_answers_that_nobody_takes_are_not_the_next_samples(tmp_path: Path) -> None:
    class First(Sums):
        def conclude(self, columns: dict[str, Any], answers: Iterator[Any], output: str) -> dict[str, Any]:
            return columns | {"first": next(answers)}

    samples = [sample(tmp_path, "a", [[1], [2], [3]]), sample(tmp_path, "b", [[4], [5]])]
    assert [told["first"] for told in Batches(First(fits=100)).run(samples) if isinstance(told, dict)] == [1, 4]
