"""How many bytes are read of `media` for 1,000 of a million samples of 20 KB, in a row and at random, and how long it takes.

    python -m benchmarks.bench_pick

Counted is what is asked of the files, their footers included; nothing is in the page cache but what reading brings there.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from unittest import mock

import pyarrow as pa

from benchmarks.common import Figure, Options, main, seconds
from tests.support.counted import Counting
from tests.support.rows import media_row, stream
from v2d_spark.schema import MEDIA
from v2d_spark.udfs import media_file
from v2d_spark.udfs.media_reader import FILES_SCHEMA, MediaReader
from v2d_spark.udfs.media_writer import MediaWriter

SAMPLES, WANTED, BYTES = 1_000_000, 1000, 20_000
BATCH, FILE_BYTES = 1_000_001, 1 << 30
GOAL = 1.2


def fill(folder: Path, samples: int) -> pa.Table:
    """Write samples as a task of a download does; return the files as a log tells of them."""
    folder.mkdir()
    noise = random.Random(0).randbytes(BYTES + 1000)
    template = media_row(0, BATCH, size=0)
    writer = MediaWriter(str(folder), MEDIA.arrow_schema, row_group_bytes=32 << 20, file_bytes=FILE_BYTES)
    streams = [stream(noise[number : number + BYTES]) for number in range(1000)]
    for number in range(samples):
        key = f"{number:012d}"
        writer.add(template | {"key": key, "source_key": key, "source_num": number, "video": streams[number % 1000]})
    files = []
    for file in sorted(writer.close(), key=lambda file: file.stats):
        told = media_file.MediaFile(str(folder / file.name)).sources
        first, last = int(told.least.min()), int(told.greatest.max())
        files.append({"path": file.name, "first_source": first, "last_source": last, "first_batch": BATCH, "last_batch": BATCH})
    return pa.Table.from_pylist(files, schema=FILES_SCHEMA)


def measure(options: Options) -> list[Figure]:
    """Each selection once; every turn would read what the one before left in the page cache."""
    samples = 20_000 if options.quick else SAMPLES
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "media")
        files = fill(folder, samples)
        figures = [Figure("samples", [samples]), Figure("files", [len(files)])]
        first = samples // 3
        selections = {
            "in a row": list(range(first, first + WANTED)),
            "at random": sorted(random.Random(0).sample(range(samples), WANTED)),
        }
        for selection, numbers in selections.items():
            reader = MediaReader(name, str(folder), files, buffer_bytes=256 << 20, scratch=name)
            counting = Counting()

            def read(reader: MediaReader = reader, numbers: list[int] = numbers) -> None:
                rows = reader.rows([f"{number:012d}" for number in numbers], numbers, [BATCH] * len(numbers))
                for row in rows:
                    for _ in row.streams["video"].chunks(verify=True):
                        pass

            with mock.patch.object(media_file, "open_file", counting.open_file):
                taken = seconds(read)
            case = f"{WANTED:,} samples {selection}"
            goal = GOAL if selection == "in a row" else None
            figures.append(Figure(f"{case}: bytes read, to their own", [counting.bytes_read / (WANTED * BYTES)], below=goal))
            figures.append(Figure(case, [taken], "s"))
    return figures


if __name__ == "__main__":
    main(measure, repeats=1)
