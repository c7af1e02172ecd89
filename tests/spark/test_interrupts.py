"""Jobs that are cancelled while their command goes on."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from v2d_spark import connect, interrupts

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_SLEEP_S = 20


def test_jobs_are_cancelled_from_another_thread_and_the_session_goes_on(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupts, "_first", signal.default_int_handler)
    ended = threading.Event()

    def cancel() -> None:
        while not ended.wait(0.5):
            interrupts.cancel_jobs(spark)

    thread = threading.Thread(target=cancel)
    started = time.monotonic()
    thread.start()
    try:
        with pytest.raises(Exception, match=r"(?i)cancel"):
            spark.sql(f"SELECT reflect('java.lang.Thread', 'sleep', id + {_SLEEP_S * 1000}) FROM range(1)").collect()
    finally:
        ended.set()
        thread.join()

    assert time.monotonic() - started < _SLEEP_S
    assert spark.range(3).count() == 3
    # Of a server that is away for a moment it is asked again, as before.
    assert not connect.is_wanted() or spark.client.get_retry_policies()
