"""Settings of the media engine: how files are decoded (`decode.*`) and how samples are encoded (`encode.*`)."""

from __future__ import annotations

from dataclasses import dataclass

from v2d_spark.udfs.settings import setting


@dataclass(frozen=True)
class DecodeSettings:
    """What opening one source may take."""

    timeout: float = setting(3600.0, "seconds that decoding one source may take", minimum=0.1, maximum=1e6)
    memory: int = setting(1 << 30, "bytes of memory that it may take; the process is ended beyond", minimum=256 << 20)


PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")


@dataclass(frozen=True)
class EncodeSettings:
    """How pictures and sound that have changed are written."""

    preset: str = setting(
        "medium", "preset of x264, from ultrafast to placebo: smaller files for more time", changes_samples=True
    )
    crf: int = setting(
        23,
        "constant rate factor of the video, from 0 (lossless) to 51; lower is better",
        changes_samples=True,
        minimum=0,
        maximum=51,
    )
    audio_bit_rate: int = setting(
        128_000, "bits a second of sound in formats that lose some", changes_samples=True, minimum=6000, maximum=512_000
    )
    image_quality: int = setting(95, "quality of jpg and webp pictures", changes_samples=True, minimum=1, maximum=100)
