"""The child process that opens media: `python -m v2d_spark.udfs.engine.child PARENT_PID MEMORY_LIMIT`.

It answers requests from its standard input on its standard output until the input is closed or the parent is gone. It
imports PyAV and the standard library alone, so that a new one is ready soon.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import av.error
import av.logging

from v2d_spark.udfs.engine import full_disk
from v2d_spark.udfs.engine.memory import is_wanting
from v2d_spark.udfs.engine.pipes import leave_with, take_pipes
from v2d_spark.udfs.engine.probe import probe
from v2d_spark.udfs.engine.protocol import MAX_MESSAGE, TooLarge, read_message, write_message
from v2d_spark.udfs.engine.tally import too_many
from v2d_spark.udfs.vocabulary import SampleError

_ADDRESS_SPACE = 2 << 30  # bytes at least: the libraries alone map half a gigabyte
_QUIET = -8  # libav's AV_LOG_QUIET
_CPU_MARGIN = 10.0  # seconds
_TOO_MUCH = {"error_class": "decoder_memory", "message": "the file takes more memory than is allowed"}


def answer(request: dict[str, Any], memory_limit: int) -> dict[str, Any]:
    """Do what a request asks.

    Args:
        request: `{"path": …, "keyframes": …, "timeout": …}` to probe,
            `{"do": "subsample", "path": …, "folder": …, "plan": {…}, "source": {…}, "timeout": …}` to make samples,
            `{"do": "join", "parts": […], "tracks": […], "output": …, "timeout": …}` to put parts of a video together,
            `{"do": "enrich", "step": …, "settings": {…}, "path": …, "output": …, "timeout": …}` to run an enricher.
        memory_limit: bytes.

    Returns:
        `{"look": …}`, what `subsample` gives, `{"subtitles": …}`, or `{"columns": …}`; or `{"error_class": …, "message": …}`.
    """
    _allow_cpu(float(request["timeout"]))
    try:
        if request.get("do") == "subsample":
            return _subsample(request, memory_limit)
        if request.get("do") == "join":
            return {"subtitles": _join(request, memory_limit)}
        if request.get("do") == "enrich":
            return {"columns": _enrich(request)}
        return {"look": probe(request["path"], keyframes=request["keyframes"], memory_limit=memory_limit)}
    except SampleError as error:
        return _told(error)
    except av.error.FFmpegError as error:
        if full_disk.is_full(error):
            return _told(full_disk.fault())
        if is_wanting(error):
            return _TOO_MUCH
        return {"error_class": "decoder_error", "message": f"the file cannot be read: {error.strerror}"}
    except MemoryError:
        return _TOO_MUCH
    except Exception as error:  # of a hostile file anything may come; it is that file's fault, not the job's
        if full_disk.is_full(error):
            return _told(full_disk.fault())
        return {"error_class": "decoder_error", "message": f"the file cannot be read: {type(error).__name__}"}


def _told(fault: SampleError) -> dict[str, Any]:
    return {"error_class": fault.error_class, "message": fault.message}


def _subsample(request: dict[str, Any], memory_limit: int) -> dict[str, Any]:
    from v2d_spark.udfs.engine.subsample import subsample

    _put_temporary_files(request["folder"])
    return subsample(
        request["path"],
        request["folder"],
        request["plan"],
        request["source"],
        timeout=request["timeout"],
        memory_limit=memory_limit,
    )


def _join(request: dict[str, Any], memory_limit: int) -> list[dict[str, Any]]:
    from v2d_spark.udfs.engine.joining import join

    _put_temporary_files(str(Path(request["output"]).parent))
    wanted = {name: request[name] for name in ("parts", "tracks", "output", "has_gaps", "timeout")}
    return join(**wanted, memory_limit=memory_limit)


def _enrich(request: dict[str, Any]) -> dict[str, Any]:
    from v2d_spark.udfs.enrichers import enricher

    _put_temporary_files(str(Path(request["output"]).parent))
    kind = enricher(request["step"])
    return kind(kind.Settings(**request["settings"])).run(request["path"], request["output"])


def _put_temporary_files(folder: str) -> None:
    """Put them where the parent removes everything: this process may be killed at any time."""
    import tempfile

    tempfile.tempdir = folder


def _allow_cpu(timeout: float) -> None:
    """Let this request use its share of CPU time: a backstop for when the parent cannot watch."""
    used = time.process_time()
    cores = os.cpu_count() or 1
    limit = int(used + (timeout + _CPU_MARGIN) * cores) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _confine(memory_limit: int) -> None:
    address_space = max(_ADDRESS_SPACE, 2 * memory_limit)
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(parent: int, memory_limit: int) -> None:
    """Answer requests until there are no more.

    Args:
        parent: process id of the parent.
        memory_limit: bytes of resident memory at which the parent kills this process.
    """
    requests, answers = take_pipes()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    av.logging.set_libav_level(_QUIET)
    _confine(memory_limit)
    leave_with(parent)
    write_message(answers, {"ready": True})
    while (request := read_message(requests)) is not None:
        try:
            _reply(answers, answer(request, memory_limit))
        except BrokenPipeError:
            return


def _reply(answers: int, message: dict[str, Any]) -> None:
    try:
        write_message(answers, message)
    except ValueError as error:
        if isinstance(error, TooLarge) and "samples" in message:
            fault = too_many(f"what is told of its {len(message['samples'])} samples takes over {MAX_MESSAGE >> 20} MiB")
        else:  # a number that is none, or more keyframes than anybody wants
            fault = SampleError("decoder_error", "what the file says of itself is absurd")
        write_message(answers, _told(fault))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
