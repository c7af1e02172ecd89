"""TFRecord: a file of `tf.train.Example`s a shard, without TensorFlow.

The framing is that of https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

from v2d_spark.udfs import locations
from v2d_spark.udfs.exporters import Checksummed, Exporter, Sample, Shard, Written, register, write_metadata
from v2d_spark.udfs.vocabulary import ConfigError, DatasetError

# A message of protobuf holds 2 GiB; what is over is for the other features.
MAX_STREAM_BYTES = (2 << 30) - (64 << 20)


@register
class TFRecord(Exporter):
    """`{shard}.tfrecord`, beside it `{shard}.parquet`; the checksum is that of the TFRecord file.

    The features of a sample are `key`, its streams under the extensions of their files (`mp4`, `optical_flow.npy`), `txt`,
    `json`, and each field of the JSON: whole numbers and truth values as int64, others as float, texts as bytes, lists and
    objects as JSON in bytes. A field that is null is left out.

    Raises:
        ConfigError: if the extra `tfrecord` is not installed.
    """

    name = "tfrecord"
    suffix = ".tfrecord"

    def __init__(self) -> None:
        try:
            import tfrecord.example_pb2
            import tfrecord.writer
        except ImportError as error:
            raise ConfigError(
                f"Exports as tfrecord need more packages, on executors too: pip install 'v2d_spark[tfrecord]' ({error})."
            ) from None
        self._messages = tfrecord.example_pb2
        self._checksum = tfrecord.writer.TFRecordWriter.masked_crc

    def write(self, shard: Shard, samples: Iterator[Sample]) -> Written:
        """See `Exporter.write`.

        Raises:
            DatasetError: if a sample is larger than an Example can be.
        """
        with locations.write_whole(locations.join(shard.folder, shard.name + self.suffix)) as file:
            sink = Checksummed(file)
            for sample in samples:
                example = self._example(sample, shard.verify)
                length = struct.pack("<Q", len(example))
                for part in (length, self._checksum(length), example, self._checksum(example)):
                    sink.write(part)
        write_metadata(shard)
        return Written(sink.tell(), sink.sha256)

    def _example(self, sample: Sample, verify: bool) -> bytes:
        size = sum(stream.size for stream in sample.streams.values())
        if size > MAX_STREAM_BYTES:
            raise DatasetError(
                f"the streams of {sample.key} have {size} bytes, more than a tf.train.Example holds; "
                "export it as webdataset or files"
            )
        values: dict[str, Any] = {name: value for name, value in json.loads(sample.json).items() if value is not None}
        for name, stream in sample.stream_files():
            values[name.removeprefix(f"{sample.key}.")] = bytes(stream.whole(verify=verify))
        values |= {"key": sample.key, "txt": sample.caption, "json": sample.json}
        features = {name: self._feature(value) for name, value in values.items()}
        example = self._messages.Example(features=self._messages.Features(feature=features))
        # Otherwise the order of a map's fields is any.
        serialized: bytes = example.SerializeToString(deterministic=True)
        return serialized

    def _feature(self, value: Any) -> Any:
        if isinstance(value, int):
            return self._messages.Feature(int64_list=self._messages.Int64List(value=[int(value)]))
        if isinstance(value, float):
            return self._messages.Feature(float_list=self._messages.FloatList(value=[value]))
        if not isinstance(value, (str, bytes)):
            value = json.dumps(value, ensure_ascii=False)
        return self._messages.Feature(
            bytes_list=self._messages.BytesList(value=[value.encode() if isinstance(value, str) else value])
        )
