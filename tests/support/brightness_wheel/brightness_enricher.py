"""An enricher of another wheel, with a model: how bright each frame of a video is. It writes down what it is asked."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from v2d_spark.udfs.enrichers import Column, Enricher, Made, Model, Resources, register
from v2d_spark.udfs.settings import setting
from v2d_spark.udfs.vocabulary import ConfigError

# Videos of these widths are more than the model can bear.
RAISES, CRASHES, FAILS_DEVICE, HANGS = 50, 52, 54, 56


@dataclass(frozen=True)
class BrightnessSettings:
    """What it needs, and how it misbehaves."""

    log: str = setting("", "file that it appends to what it was asked")
    gpus: float = setting(1.0, "GPUs of a task")
    cpus: int = setting(1, "cores of a task")
    batch_size: int = setting(16, "frames at once")
    fits: int = setting(1 << 30, "pixels that fit into memory at once")
    seconds: float = setting(0.0, "seconds that a batch takes")
    decode_seconds: float = setting(0.0, "seconds that decoding takes, beside the decoding")
    broken: bool = setting(False, "whether it cannot be loaded")


def note(settings: BrightnessSettings, what: str, **told: Any) -> None:
    if settings.log:
        line = {"what": what, "pid": os.getpid(), "parent": os.getppid(), "time": time.time(), **told}
        file = os.open(settings.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, (json.dumps(line) + "\n").encode())
        os.close(file)


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


class BrightnessModel(Model):
    def __init__(self, settings: BrightnessSettings) -> None:
        self._settings = settings
        self.resources = Resources(cpus=settings.cpus, gpus=settings.gpus)
        self.batch_size = settings.batch_size

    def setup(self, device: str) -> None:
        if self._settings.broken:
            raise ConfigError("The model of brightness is broken; get another.")
        note(self._settings, "setup", device=device, visible=os.environ.get("CUDA_VISIBLE_DEVICES"))

    def process(self, batch: Sequence[Any]) -> Sequence[Any]:
        started = time.time()
        width = batch[0].shape[1]
        pixels = sum(item.size for item in batch)
        note(self._settings, "batch", items=len(batch), width=width)
        if pixels > self._settings.fits:
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        if width == RAISES:
            raise ValueError("what is this?\nmore of it")
        if width == FAILS_DEVICE:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if width == CRASHES:
            os._exit(3)
        if width == HANGS:
            time.sleep(600)
        time.sleep(self._settings.seconds)
        note(self._settings, "process", items=len(batch), started=started, visible=os.environ.get("CUDA_VISIBLE_DEVICES"))
        return [float(item.mean()) for item in batch]

    def conclude(self, columns: dict[str, Any], answers: Iterator[Any], output: str) -> dict[str, Any]:
        values = list(answers)
        Path(output).write_bytes(json.dumps(values).encode())
        return columns | {"mean_brightness": sum(values) / len(values)}


@register
class Brightness(Enricher):
    """How bright frames are."""

    name = "brightness"
    Settings: ClassVar[type[Any]] = BrightnessSettings
    columns = (
        Column("mean_brightness", "double", "mean of all pixels, from 0 to 255"),
        Column("frames", "int", "frames that were looked at"),
    )
    made = Made("application/json", "json", "brightness of each frame")
    settings: BrightnessSettings

    def run(self, path: str, output: str) -> dict[str, Any]:
        import numpy as np

        from v2d_spark.udfs.engine.reader import VideoReader

        started = time.time()
        with VideoReader(path) as reader:
            pictures = [frame.to_ndarray(format="gray") for frame in reader.frames()]
        time.sleep(self.settings.decode_seconds)
        with open(output, "wb") as file:
            np.save(file, np.array(pictures))
        note(self.settings, "decode", started=started)
        return {"frames": len(pictures)}

    def model(self) -> Model:
        return BrightnessModel(self.settings)
