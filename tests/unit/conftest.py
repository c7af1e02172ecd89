"""What tests of the media engine share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from v2d_spark.udfs.engine import MediaChild


@pytest.fixture(scope="module")
def child() -> Iterator[MediaChild]:
    """A child process for the tests of a module."""
    child = MediaChild()
    yield child
    child.close()


@pytest.fixture
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which numbered videos are kept for all tests."""
    return tmp_path_factory.getbasetemp()
