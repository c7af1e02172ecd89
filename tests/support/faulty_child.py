"""The child process that opens media, but for files of certain names, which make it misbehave."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from v2d_spark.udfs.engine import child, protocol

honest_answer = child.answer


def faulty_answer(request: dict[str, Any], memory_limit: int) -> dict[str, Any]:
    name = Path(request["path"]).name
    if name == "hang":
        time.sleep(600)
    if name == "eat":
        hoard = []
        while True:
            hoard.append(bytearray(os.urandom(1 << 20) * 4))
    if name == "segfault":
        ctypes.string_at(0)
    if name == "abort":
        os.abort()
    if name == "exit":
        os._exit(7)
    if name == "busy":
        signal.raise_signal(signal.SIGXCPU)
    if name == "chatter":
        os.write(1, b"a native library prints this\n" * 1000)
        print("and Python this", flush=True)
    if name == "nan":
        return {"look": {"fps": float("nan")}}
    if name == "many":
        protocol.MAX_MESSAGE = 1 << 20
        return {"samples": 2 * ["x" * (1 << 20)]}
    return honest_answer(request, memory_limit)


if __name__ == "__main__":
    child.answer = faulty_answer
    child.main(int(sys.argv[1]), int(sys.argv[2]))
