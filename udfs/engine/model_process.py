"""The process that holds a model: `python -m v2d_spark.udfs.engine.model_process PARENT_PID MEMORY_LIMIT`.

It loads the model that it is told, then answers requests from its standard input on its standard output until the input
is closed or the parent is gone.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from v2d_spark.udfs.engine.model_batches import Batches, is_lasting
from v2d_spark.udfs.engine.pipes import leave_with, take_pipes
from v2d_spark.udfs.engine.protocol import TooLarge, read_message, write_message
from v2d_spark.udfs.vocabulary import V2dError


class _Answers:
    """Answers requests: first `setup`, then `process`, as often as is asked."""

    def __init__(self) -> None:
        self._batches: Batches | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks.

        Args:
            request: `{"do": "setup", "step": …, "settings": {…}, "device": …}`, or
                `{"do": "process", "samples": [{"path": …, "columns": {…}, "output": …}, …]}`.

        Returns:
            `{}` or `{"fault": …}`; or `{"samples": […]}`, each `{"columns": {…}}` or `{"error_class": …, "message": …}`.
            Where this process is of no use any more: `{"error_class": …, "message": …}`.
        """
        if request["do"] == "setup":
            return self._setup(request)
        assert self._batches is not None
        samples = request["samples"]
        tempfile.tempdir = str(Path(samples[0]["output"]).parent)  # where the parent removes everything
        try:
            return {"samples": [self._told(one) for one in self._batches.run(samples)]}
        except Exception as error:
            if not is_lasting(error):
                raise
            return {"error_class": "model_crashed", "message": f"the device failed: {_first_line(error)}"}

    def _setup(self, request: dict[str, Any]) -> dict[str, Any]:
        from v2d_spark.udfs.enrichers import enricher

        step = request["step"]
        try:
            kind = enricher(step)
            model = kind(kind.Settings(**request["settings"])).model()
            assert model is not None
            model.setup(request["device"])
        except V2dError as error:
            return {"fault": str(error)}
        except Exception as error:
            return {"fault": f"The model of {step} cannot be loaded: {type(error).__name__}: {_first_line(error)}."}
        self._batches = Batches(model)
        return {}

    @staticmethod
    def _told(one: dict[str, Any] | Exception) -> dict[str, Any]:
        if isinstance(one, dict):
            return {"columns": one}
        return {
            "error_class": getattr(one, "error_class", "model_error"),
            "message": getattr(one, "message", f"{type(one).__name__}: {_first_line(one)}"),
        }


def _first_line(error: Exception) -> str:
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), "no reason given")


def main(parent: int) -> None:
    """Answer requests until there are no more.

    Args:
        parent: process id of the parent.
    """
    requests, answers = take_pipes()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    leave_with(parent)
    write_message(answers, {"ready": True})
    work = _Answers()
    while (request := read_message(requests)) is not None:
        told = work.answer(request)
        try:
            _reply(answers, told)
        except BrokenPipeError:
            return
    os._exit(0)  # a library's threads may not want to end


def _reply(answers: int, message: dict[str, Any]) -> None:
    try:
        write_message(answers, message)
    except ValueError as error:
        why = "too much is told of it" if isinstance(error, TooLarge) else "a number that is none is told of it"
        write_message(answers, {"error_class": "model_error", "message": why})


if __name__ == "__main__":
    main(int(sys.argv[1]))
