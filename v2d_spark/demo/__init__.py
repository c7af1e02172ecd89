"""The main job on real footage, served on 127.0.0.1: `v2d demo`."""

from __future__ import annotations

from v2d_spark.demo.flow import run_demo

__all__ = ["run_demo"]
