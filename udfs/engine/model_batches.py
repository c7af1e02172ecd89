"""A model's batches: items of one shape together, as many as fit into the device's memory."""

from __future__ import annotations

import contextlib
import gc
import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from v2d_spark.udfs.enrichers import Model
from v2d_spark.udfs.vocabulary import SampleError


def does_not_fit(error: Exception) -> bool:
    """Whether a fault of a model's is that its device's memory does not suffice."""
    # torch.cuda.OutOfMemoryError is torch.OutOfMemoryError; other libraries name theirs so, too.
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def is_lasting(error: Exception) -> bool:
    """Whether a fault of a model's leaves its process of no use: a GPU that has failed fails whatever comes next."""
    return type(error).__name__ == "AcceleratorError" or "CUDA error" in str(error)


class Batches:
    """Gives a model the items of samples, in batches.

    Args:
        model: the model, loaded.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        # Of each shape: as many items as fit, where it is known that fewer do than are wanted.
        self._fitting: dict[Any, int] = {}

    def run(self, samples: Sequence[dict[str, Any]]) -> list[dict[str, Any] | Exception]:
        """Look at samples, together as far as their items are of one shape.

        Args:
            samples: `path`, `columns` and `output` of each.

        Returns:
            Values by column for each, or what is wrong with it: what fails with others is looked at again alone.

        Raises:
            Exception: if this process is of no use any more.
        """
        done: list[dict[str, Any] | Exception] = []
        if len(samples) > 1:
            # A fault in a batch may be of any sample in it: who is not done is looked at alone.
            with contextlib.suppress(_Ordinary), _ordinary():
                items = [self._model.items(sample["path"]) for sample in samples]
                answers = self._answers(itertools.chain.from_iterable(items))
                for sample, own in zip(samples, items, strict=True):
                    done.append(self._concluded(sample, itertools.islice(answers, len(own))))
        return done + [self._alone(sample) for sample in samples[len(done) :]]

    def _alone(self, sample: dict[str, Any]) -> dict[str, Any] | Exception:
        try:
            with _ordinary():
                return self._concluded(sample, self._answers(iter(self._model.items(sample["path"]))))
        except _Ordinary as fault:
            assert isinstance(fault.__cause__, Exception)
            return fault.__cause__

    def _concluded(self, sample: dict[str, Any], answers: Iterator[Any]) -> dict[str, Any]:
        columns = self._model.conclude(sample["columns"], answers, sample["output"])
        for _ in answers:  # what was not asked for is not the next sample's
            pass
        return columns

    def _answers(self, items: Iterator[Any]) -> Iterator[Any]:
        for shape, alike in itertools.groupby(items, key=lambda item: getattr(item, "shape", None)):
            while batch := list(itertools.islice(alike, self._size(shape))):
                yield from self._processed(shape, batch)

    def _processed(self, shape: Any, batch: list[Any]) -> Iterator[Any]:
        while batch:
            part = batch[: self._size(shape)]
            try:
                answers = self._model.process(part)
            except Exception as error:
                if not does_not_fit(error):
                    raise
                if len(part) == 1:
                    message = f"it does not fit into the device's memory: one item of shape {shape}"
                    raise SampleError("model_memory", message) from None
                self._fitting[shape] = len(part) // 2
                answers = None
            if answers is None:  # here, not above: what an exception's frames refer to is not freed before
                _free()
                continue
            if len(answers) != len(part):
                raise ValueError(f"the model gives {len(answers)} answers for {len(part)} items")
            yield from answers
            batch = batch[len(part) :]

    def _size(self, shape: Any) -> int:
        return self._fitting.get(shape, max(1, self._model.batch_size))


class _Ordinary(Exception):
    """A fault that leaves this process of use; its cause is the fault."""


@contextlib.contextmanager
def _ordinary() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if is_lasting(error):
            raise
        raise _Ordinary from error


def _free() -> None:
    """Give back what a batch that did not fit has left behind."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
