"""Changes the sound: its rate, its channels, its loudness."""

from __future__ import annotations

from dataclasses import dataclass

from v2d_spark.udfs.settings import setting
from v2d_spark.udfs.subsamplers import Sound, Subsampler, register
from v2d_spark.udfs.vocabulary import ConfigError


@dataclass(frozen=True)
class AudioSettings:
    """What becomes of the sound."""

    rate: int | None = setting(
        None,
        "samples a second; null: as they come; a codec that does not know the rate takes its next higher one "
        "(opus knows 8000, 12000, 16000, 24000 and 48000)",
        changes_samples=True,
        minimum=4_000,
        maximum=192_000,
    )
    channels: int | None = setting(
        None,
        "channels, such as 1 for mono, 2 for stereo, 6 for 5.1; null: as they come; mp3 has at most 2, aac and opus 6",
        changes_samples=True,
        minimum=1,
        maximum=8,
    )
    loudness: float | None = setting(
        None,
        "integrated loudness in LUFS to which each sample is brought, by EBU R128 in one pass, such as -23; null: as it comes",
        changes_samples=True,
        minimum=-70,
        maximum=-5,
    )


@register
class Audio(Subsampler):
    """Sound of another rate, with other channels, or of one loudness.

    Sound that is changed is decoded and encoded again. Where it already is as wanted, it goes into samples as it is, if
    their format can hold it.
    """

    name = "audio"
    needs_whole = False
    Settings = AudioSettings

    settings: AudioSettings

    def check(self) -> None:
        """As `Subsampler`."""
        if self.settings == AudioSettings():
            raise ConfigError(
                "Set one of subsample.audio.rate, subsample.audio.channels and subsample.audio.loudness at least."
            )

    def sound(self) -> Sound:
        """What becomes of the sound."""
        return Sound(self.settings.rate or 0, self.settings.channels or 0, self.settings.loudness)
