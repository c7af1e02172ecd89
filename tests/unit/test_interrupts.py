"""Ctrl-C in processes of their own: it is a matter of a whole process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BEGIN = """
import logging, os, signal, sys, time
from v2d_spark import interrupts

def press():
    os.kill(os.getpid(), signal.SIGINT)

"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BEGIN + script], capture_output=True, text=True, timeout=60)


def test_after_a_command_ctrl_c_changes_nothing_and_a_second_ends_what_hangs() -> None:
    script = """
class Freed:
    def __del__(self, kill=os.kill, pid=os.getpid()):
        kill(pid, 2)

last = Freed()
interrupts.answer()
print("summary")
interrupts.end(3)
press()
sys.exit(3)
"""
    ending = run(script)
    assert (ending.returncode, ending.stdout, ending.stderr) == (3, "summary\n", "")
    hanging = run("interrupts.answer(); print('summary'); interrupts.end(3); press(); press(); time.sleep(60)")
    assert (hanging.returncode, hanging.stdout, hanging.stderr) == (3, "summary\n", "")


def test_a_command_that_is_done_is_not_taken_apart_while_libraries_work_in_it() -> None:
    script = """
import atexit

class Freed:
    def __del__(self):
        os.abort()

kept = Freed()
interrupts.answer()
atexit.register(print, "told")
print("summary", end=" ")
interrupts.end(3)
sys.exit(3)
"""
    ending = run(script)
    assert (ending.returncode, ending.stdout, ending.stderr) == (3, "summary told\n", "")


def test_what_could_not_be_printed_is_no_success() -> None:
    script = BEGIN + "interrupts.answer(); print('summary'); interrupts.end(0); sys.exit(0)"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, env=buffered
        )
    assert done.returncode == 120
    assert "No space left" in done.stderr


def test_sparks_handler_is_replaced_and_what_python_would_drop_comes_again() -> None:
    script = """
class Freed:
    def __del__(self):
        press()

interrupts.answer()
signal.signal(signal.SIGINT, lambda *_: print("Spark's"))
interrupts.take_back()
try:
    Freed()
    time.sleep(60)
except KeyboardInterrupt:
    print("came")
"""
    done = run(script)
    assert (done.stdout, done.stderr) == ("came\n", "")


def test_what_py4j_logs_is_left_out() -> None:
    script = """
interrupts.answer()
exec(compile("logging.error('by py4j'); logging.getLogger('py4j.x').error('too')", "/lib/py4j/java_gateway.py", "exec"))
logging.error("by others")
"""
    assert run(script).stderr == "ERROR:root:by others\n"


@pytest.mark.parametrize("script", ["import pyspark; interrupts.answer()", ""], ids=["has Spark already", "is no command"])
def test_other_processes_keep_their_handlers(script: str) -> None:
    done = run(
        script
        + """
mine = lambda *_: print("mine")
signal.signal(signal.SIGINT, mine)
interrupts.take_back()
interrupts.end(3)
press()
print(signal.getsignal(signal.SIGINT) is mine, logging.getLogger().filters, sys.unraisablehook is sys.__unraisablehook__)
"""
    )
    assert done.stdout == "mine\nTrue [] True\n"
