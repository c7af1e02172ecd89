"""Brings pictures to a size: scaled, cropped and padded, in the order that is wanted."""

from __future__ import annotations

import math
from dataclasses import dataclass

from v2d_spark.udfs.settings import setting
from v2d_spark.udfs.subsamplers import Filtered, Shape, Subsampler, register
from v2d_spark.udfs.vocabulary import ConfigError

OPERATIONS = ("scale", "crop", "pad")
SIDES = ("shorter", "longer", "width", "height", "area")
_LARGEST = 16_384
_SIZE = 224


@dataclass(frozen=True)
class ResolutionSettings:
    """What size pictures get. They are upright and their pixels square before any of it is done."""

    operations: list[str] = setting(
        ["scale", "crop", "pad"],
        "what is done, in this order: scale keeps the shape, crop takes the middle of what is larger, pad puts black around"
        " what is smaller",
        changes_samples=True,
    )
    size: int | None = setting(
        None,
        "pixels that scale brings one side to; of crop and pad, both sides. null: 224, and where width and height are set,"
        " scale fills them before a crop, or else fits into them",
        changes_samples=True,
        minimum=2,
        maximum=_LARGEST,
    )
    by: str = setting(
        "shorter",
        "the side that scale brings to size: shorter, longer, width, height, or area (of a square of that size)",
        changes_samples=True,
    )
    width: int | None = setting(
        None, "pixels across for crop and pad; null: size", changes_samples=True, minimum=2, maximum=_LARGEST
    )
    height: int | None = setting(
        None, "pixels down for crop and pad; null: size", changes_samples=True, minimum=2, maximum=_LARGEST
    )
    multiple_of: int = setting(
        2,
        "width and height are multiples of this even number; what is over is cut off",
        changes_samples=True,
        minimum=2,
        maximum=1024,
    )
    enlarge: bool = setting(False, "whether scale also makes smaller pictures larger", changes_samples=True)


@register
class Resolution(Subsampler):
    """Scales, crops and pads.

    What video2dataset's `resize_mode`, `video_size`, `height` and `width` do. As it stands, every picture becomes 224 by
    224: its shorter side is scaled to that, the middle is taken, and a picture that is smaller gets a black border. With
    `width: 640, height: 360` every picture fills that frame.

    Scaling keeps the aspect ratio to within one pixel, the side that was asked for exactly. A picture is made larger
    where `enlarge` says so, and where a side would be shorter than 2 pixels.
    """

    name = "resolution"
    needs_whole = False
    Settings = ResolutionSettings

    settings: ResolutionSettings

    def check(self) -> None:
        """As the base class says."""
        settings = self.settings
        operations = settings.operations
        if not operations or any(one not in OPERATIONS or operations.count(one) > 1 for one in operations):
            raise ConfigError(
                f"Setting subsample.resolution.operations must be a list of some of {', '.join(OPERATIONS)}, each once,"
                f" not {operations!r}."
            )
        if settings.by not in SIDES:
            raise ConfigError(f"Setting subsample.resolution.by must be one of {', '.join(SIDES)}, not {settings.by!r}.")
        if (settings.width is None) != (settings.height is None):
            raise ConfigError("Settings subsample.resolution.width and subsample.resolution.height must be set together.")
        if settings.width is not None and operations == ["scale"]:
            raise ConfigError(
                "Settings subsample.resolution.width and subsample.resolution.height are for crop and pad, which"
                " subsample.resolution.operations does not name; set subsample.resolution.by and size."
            )
        if settings.width is not None and settings.size is None and settings.by != "shorter":
            raise ConfigError(
                "Setting subsample.resolution.by is of size, which is not set; with subsample.resolution.width and height"
                " leave it out."
            )
        self._check_multiples()

    def _check_multiples(self) -> None:
        settings = self.settings
        if settings.multiple_of % 2:
            raise ConfigError(f"Setting subsample.resolution.multiple_of must be even, not {settings.multiple_of}.")
        framed = settings.operations != ["scale"]
        scaled = "scale" in settings.operations and settings.by != "area"
        for name, used in {
            "size": (scaled and not (settings.size is None and settings.width)) or (framed and settings.width is None),
            "width": settings.width is not None,
            "height": settings.height is not None,
        }.items():
            value = getattr(settings, name) or _SIZE
            if used and value % settings.multiple_of:
                raise ConfigError(
                    f"Setting subsample.resolution.{name} must be a multiple of subsample.resolution.multiple_of"
                    f" ({settings.multiple_of}), not {value}."
                )

    def filters(self, shape: Shape) -> Filtered:
        """As the base class says."""
        chain: list[tuple[str, str]] = []
        for operation in self.settings.operations:
            shape = self._step(chain, operation, shape, self._target(operation, shape))
        multiple = self.settings.multiple_of
        whole = Shape(max(shape.width // multiple, 1) * multiple, max(shape.height // multiple, 1) * multiple)
        shape = self._step(chain, "crop", shape, _smaller(shape, whole))
        shape = self._step(chain, "pad", shape, whole)
        return Filtered(tuple(chain), shape)

    @staticmethod
    def _step(chain: list[tuple[str, str]], operation: str, shape: Shape, target: Shape) -> Shape:
        if target != shape:
            middle = ":-1:-1:black" if operation == "pad" else ""
            chain.append((operation, f"{target.width}:{target.height}{middle}"))
        return target

    def _target(self, operation: str, shape: Shape) -> Shape:
        if operation == "scale":
            return self._scaled(shape)
        size = self.settings.size or _SIZE
        frame = Shape(self.settings.width or size, self.settings.height or size)
        return _smaller(shape, frame) if operation == "crop" else _larger(shape, frame)

    def _scaled(self, shape: Shape) -> Shape:
        factor = self._factor(shape)
        if factor == 1 or (factor > 1 and not self.settings.enlarge):
            return shape
        return Shape(_even(shape.width * factor), _even(shape.height * factor))

    def _factor(self, shape: Shape) -> float:
        settings = self.settings
        if settings.size is None and settings.width is not None and settings.height is not None:
            factors = settings.width / shape.width, settings.height / shape.height
            return max(factors) if "crop" in settings.operations else min(factors)
        side = {
            "shorter": min(shape.width, shape.height),
            "longer": max(shape.width, shape.height),
            "width": shape.width,
            "height": shape.height,
            "area": math.sqrt(shape.width * shape.height),
        }[settings.by]
        return (settings.size or _SIZE) / side


def _even(length: float) -> int:
    """The nearest even number of pixels; at least 2."""
    return max(2, round(length / 2) * 2)


def _smaller(one: Shape, other: Shape) -> Shape:
    return Shape(min(one.width, other.width), min(one.height, other.height))


def _larger(one: Shape, other: Shape) -> Shape:
    return Shape(max(one.width, other.width), max(one.height, other.height))


__all__ = ["OPERATIONS", "SIDES", "Resolution", "ResolutionSettings"]
