"""Sound: the track of a source, what of it goes into a sample's video file, and files of sound alone."""

from v2d_spark.udfs.engine.sound_cut import SoundCut
from v2d_spark.udfs.engine.sound_file import SOUND_FORMATS, SoundFile
from v2d_spark.udfs.engine.sound_track import SoundTrack

__all__ = ["SOUND_FORMATS", "SoundCut", "SoundFile", "SoundTrack"]
