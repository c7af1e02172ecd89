"""Pictures of real files, compared with what the ffmpeg command shows of them."""

import struct
import subprocess
from fractions import Fraction

import av
import cv2
import imageio_ffmpeg
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.media import ffmpeg, make_video
from v2d_spark.udfs.engine.geometry import Deinterlacer, Geometry, Views, is_interlaced, still
from v2d_spark.udfs.engine.settings import EncodeSettings
from v2d_spark.udfs.engine.tone import Tone, table
from v2d_spark.udfs.engine.video_file import VideoFile, VideoFormat
from v2d_spark.udfs.subsamplers import Filtered, Shape, Subsampler, View
from v2d_spark.udfs.subsamplers.resolution import Resolution, ResolutionSettings
from v2d_spark.udfs.vocabulary import SampleError

COLOURS = {  # in the quarters of a picture, from the upper left: red, green, blue
    "pale red": (200, 60, 60),
    "pale green": (40, 170, 70),
    "pale blue": (50, 60, 190),
    "sand": (210, 190, 130),
}


def frames(path):
    with av.open(str(path)) as file:
        return list(file.decode(video=0))


def first(path):
    """The first frame, and the stream's sample aspect ratio."""
    with av.open(str(path)) as file:
        return next(file.decode(video=0)), file.streams.video[0].sample_aspect_ratio


def size(frame):
    return frame.width, frame.height


def rgb(frame):
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(still(frame, "png", 0), np.uint8), 1), cv2.COLOR_BGR2RGB)


def shown(path, width, height):
    """What the ffmpeg command makes of a file's first frame, turned as the file says, in RGB."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-frames:v", "1"]
    scale = f"scale={width}:{height}:flags=bicubic+accurate_rnd+full_chroma_int"
    done = subprocess.run([*command, "-vf", scale, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(height, width, 3)


def difference(one, other):
    """How much brightness differs, of 255."""
    gray = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(int) for image in (one, other)]
    return np.abs(gray[0] - gray[1]).mean()


def quarters(path, *, size=(64, 48), options=()):
    """A file of one picture with a colour in each quarter."""
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    for number, colour in enumerate(COLOURS.values()):
        down, across = divmod(number, 2)
        image[down * height // 2 : (down + 1) * height // 2, across * width // 2 : (across + 1) * width // 2] = colour
    png = path.with_name("quarters.png")
    cv2.imwrite(str(png), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    ffmpeg("-i", png, "-frames:v", 1, "-fflags", "+bitexact", "-flags", "+bitexact", *options, path)
    return path


def assert_quarters(image):
    height, width = image.shape[:2]
    for number, (name, colour) in enumerate(COLOURS.items()):
        down, across = divmod(number, 2)
        seen = image[height // 4 + down * height // 2, width // 4 + across * width // 2]
        assert np.abs(seen.astype(int) - colour).max() <= 5, f"{name}: {seen}, not {colour}"


def resolution(**settings):
    return Resolution(ResolutionSettings(**settings))


def blank(width, height, pixel_format, *, matrix=2, range=0, transfer=2, primaries=2):
    frame = av.VideoFrame(width, height, pixel_format)
    for plane in frame.planes:
        np.frombuffer(plane, np.uint8)[:] = 100
    frame.pts, frame.time_base, frame.duration = 7, Fraction(1, 90000), 3
    frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries = matrix, range, transfer, primaries
    return frame


def test_a_picture_that_is_as_it_should_be_is_left_alone():
    frame = blank(320, 240, "yuv420p", matrix=6, range=1)
    assert Geometry([])(frame, Fraction(1)) is frame
    assert Geometry([])(frame, None) is frame
    assert Geometry([resolution(operations=["scale"], size=240)])(frame, None) is frame


def test_times_stay():
    made = Geometry([resolution(size=64)])(blank(320, 240, "yuv444p"), None)
    assert (made.pts, made.time_base, made.duration) == (7, Fraction(1, 90000), 3)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_pictures_stand_upright(tmp_path, rotation, mirrored):
    plain = make_video(tmp_path / "plain.mp4", size=(96, 64), seconds=0.1, audio=False)
    lying = tmp_path / "lying.mp4"
    flip = ("-display_hflip:v:0",) if mirrored else ()
    ffmpeg("-display_rotation:v:0", rotation, *flip, "-i", plain, "-c", "copy", lying)
    frame, aspect = first(lying)
    expected = (64, 96) if rotation % 180 else (96, 64)
    for geometry in (Geometry([]), Geometry([resolution(operations=["scale"], size=32)])):
        made = geometry(frame, aspect)
        assert size(made) in (expected, (expected[0] // 2, expected[1] // 2))
        assert geometry.shape(frame, aspect) == Shape(*size(made))
        assert difference(rgb(made), shown(lying, *size(made))) < 4
        assert Geometry([])(made, None) is made


@pytest.mark.parametrize("orientation, corner", [(1, (0, 0)), (3, (1, 1)), (6, (0, 1)), (8, (1, 0))])
def test_photographs_stand_upright(tmp_path, orientation, corner):
    """PyAV has no name for the EXIF side data that comes with their display matrix."""
    image = np.zeros((32, 64, 3), np.uint8)
    image[:16, :32] = 255
    plain = cv2.imencode(".jpg", image)[1].tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + struct.pack(">HHI", orientation, 0, 0)
    path = tmp_path / "a.jpg"
    path.write_bytes(plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:])
    made = rgb(Geometry([])(*first(path)))
    assert made.shape[:2] == ((32, 64) if orientation in (1, 3) else (64, 32))
    height, width = made.shape[:2]
    corners = {
        (down, across): made[height // 4 + down * height // 2, width // 4 + across * width // 2, 0]
        for down in (0, 1)
        for across in (0, 1)
    }
    assert corners[corner] > 250
    assert sum(corners.values()) < 300


@pytest.mark.parametrize("aspect, expected", [("64/45", (102, 48)), ("8/9", (64, 48)), ("1/2", (36, 48)), ("1000/1", (72, 48))])
def test_pixels_become_square(tmp_path, aspect, expected):
    video = make_video(tmp_path / "a.mp4", size=(72, 48), seconds=0.1, audio=False, sample_aspect=aspect)
    made = Geometry([])(*first(video))
    assert size(made) == expected
    assert difference(rgb(made), shown(video, *expected)) < 4


def test_one_scaling_makes_pixels_square_and_pictures_small(tmp_path):
    video = make_video(tmp_path / "a.mp4", size=(720, 576), seconds=0.1, audio=False, sample_aspect="64/45")
    made = Geometry([resolution(size=224, operations=["scale"])])(*first(video))
    assert size(made) == (398, 224)
    assert difference(rgb(made), shown(video, 398, 224)) < 4


@pytest.mark.parametrize("width, height", [(321, 241), (2, 2), (1, 1), (3, 1), (1, 8), (400, 2), (2000, 16)])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "rgb24"])
def test_sizes_are_even(tmp_path, width, height, pixel_format):
    video = tmp_path / "a.nut"
    picture = f"color=orange:size={width}x{height}:duration=0.1:rate=25"
    ffmpeg("-f", "lavfi", "-i", picture, "-pix_fmt", pixel_format, "-c:v", "rawvideo", video)
    frame, aspect = first(video)
    made = Geometry([])(frame, aspect)
    assert size(made) == (max(2, width // 2 * 2), max(2, height // 2 * 2))
    assert size(Geometry([resolution(size=64)])(frame, aspect)) == (64, 64)
    assert Views().image(frame, View()).shape == (max(1, round(height * min(256, width) / width)), min(256, width), 3)


@pytest.mark.parametrize(
    "suffix, options",
    {
        "h264": (".mp4", ("-c:v", "libx264", "-qp", 1, "-pix_fmt", "yuv420p")),
        "h264 4:2:2": (".mp4", ("-c:v", "libx264", "-qp", 1, "-pix_fmt", "yuv422p")),
        "h264 4:4:4": (".mp4", ("-c:v", "libx264", "-qp", 1, "-pix_fmt", "yuv444p")),
        "h264 full range": (".mp4", ("-c:v", "libx264", "-qp", 1, "-pix_fmt", "yuvj420p")),
        "h264 bt709": (
            ".mp4",
            ("-vf", "scale=out_color_matrix=bt709,format=yuv420p", "-c:v", "libx264", "-qp", 1, "-colorspace", "bt709"),
        ),
        "h264 smpte240m": (
            ".mp4",
            ("-vf", "scale=out_color_matrix=smpte240m,format=yuv420p", "-c:v", "libx264", "-qp", 1, "-colorspace", "smpte240m"),
        ),
        "hevc 10 bit": (".mp4", ("-c:v", "libx265", "-x265-params", "log-level=none:qp=4:pools=1", "-pix_fmt", "yuv420p10le")),
        "rgb": (".mkv", ("-c:v", "ffv1", "-pix_fmt", "bgr0")),
        "rgb 10 bit": (".mkv", ("-c:v", "ffv1", "-pix_fmt", "gbrp10le")),
        "rgb with alpha": (".mkv", ("-c:v", "png", "-pix_fmt", "rgba")),
        "gif": (".gif", ("-vf", "split[a][b];[a]palettegen[p];[b][p]paletteuse")),
        "mjpeg": (".avi", ("-c:v", "mjpeg", "-q:v", 1)),
    }.values(),
)
def test_colours_stay_what_they_are(tmp_path, suffix, options):
    frame, aspect = first(quarters(tmp_path / f"a{suffix}", options=options))
    made = Geometry([])(frame, aspect)
    assert made.format.name == "yuv420p"
    assert made.color_range == 1 and made.colorspace in (1, 5, 6)
    assert_quarters(rgb(made))
    assert_quarters(rgb(Geometry([resolution(size=32)])(frame, aspect)))
    for changes in ([], [resolution(size=32)]):
        alone = Geometry(changes, still=True)(frame, aspect)
        assert alone.format.name == "gbrp"
        assert_quarters(rgb(alone))
    assert_quarters(Views().image(frame, View(width=32))[:, :, ::-1])


@pytest.mark.parametrize("format", ["mp4", "webm"])
@pytest.mark.parametrize("matrix, number", [("bt709", 1), ("bt470bg", 5)])
def test_colours_survive_the_file_that_is_written(tmp_path, format, matrix, number):
    scale = "scale=out_color_matrix=" + matrix.replace("470bg", "601")
    source = quarters(
        tmp_path / "a.mkv", options=("-vf", f"{scale},format=yuv420p", "-c:v", "libx264", "-qp", 1, "-colorspace", matrix)
    )
    made = Geometry([resolution(size=32)])(*first(source))
    assert made.colorspace == number
    path = tmp_path / f"b.{format}"
    kind = VideoFormat(format, EncodeSettings(crf=4), Fraction(25), Fraction(1, 25))
    file = VideoFile(str(path), kind, made, None)
    made.pts, made.duration, made.time_base = 0, 1, Fraction(1, 25)
    file.write(made, Fraction(0))
    file.end_picture()
    file.close(Fraction(1, 25))
    written, aspect = first(path)
    assert (written.colorspace, written.color_range) == (number, 1)
    assert_quarters(rgb(Geometry([])(written, aspect)))


@pytest.mark.parametrize("width, height, matrix", [(1280, 720, 1), (720, 1280, 1), (720, 576, 6), (320, 240, 6)])
def test_a_matrix_that_is_not_told_is_guessed_by_size_and_told(width, height, matrix):
    made = Geometry([resolution(size=64)])(blank(width, height, "yuv420p"), None)
    assert made.colorspace == matrix
    assert made.color_range == 1


def test_what_is_transparent_is_laid_over_black():
    image = np.full((32, 32, 4), 255, np.uint8)
    image[:16, :, 3] = 0
    image[16:, :, 3] = 128
    for pixel_format in ("rgba", "yuva420p"):
        frame = av.VideoFrame.from_ndarray(image, "rgba").reformat(format=pixel_format)
        for seen in (rgb(Geometry([])(frame, None)), Views().image(frame, View())):
            assert np.abs(seen[4, 4].astype(int)).max() <= 2
            assert np.abs(seen[24, 4].astype(int) - 128).max() <= 2


def test_a_picture_of_grays_keeps_black_and_white():
    ramp = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
    frame = av.VideoFrame.from_ndarray(ramp, "gray")
    assert np.abs(rgb(Geometry([])(frame, None)).astype(int) - ramp[:, :, None]).max() <= 2
    assert np.abs(Views().image(frame, View(pixel_format="gray")).astype(int) - ramp).max() <= 1


@pytest.mark.parametrize("matrix", [1, 2, 6, 9])
def test_the_gray_view_is_the_luma_at_full_range(matrix):
    frame = blank(320, 240, "yuv420p", matrix=matrix, range=1)
    np.frombuffer(frame.planes[1], np.uint8)[:] = 200
    image = Views().image(frame, View(width=64, pixel_format="gray"))
    assert image.shape == (48, 64)
    assert np.abs(image - (100 - 16) * 255 / 219).max() <= 1


def pq(light):
    power = (light / 10_000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


def test_high_dynamic_range_becomes_standard():
    """Grays: what is dark stays as bright as it was, white is at 1000 cd/m², and between them nothing turns darker."""
    geometry, levels = Geometry([]), []
    for light in (0, 0.1, 1, 10, 50, 100, 203, 400, 1000, 4000):
        frame = blank(16, 16, "yuv420p10le", matrix=9, range=1, transfer=16, primaries=9)
        np.frombuffer(frame.planes[0], np.uint16)[:] = round(64 + 876 * pq(light))
        for plane in frame.planes[1:]:
            np.frombuffer(plane, np.uint16)[:] = 512
        made = geometry(frame, None)
        assert (made.colorspace, made.color_range, made.color_trc, made.color_primaries) == (1, 1, 1, 1)
        levels.append(int(np.frombuffer(made.planes[0], np.uint8)[0]))
        assert np.abs(np.frombuffer(made.planes[1], np.uint8)[:8].astype(int) - 128).max() <= 1
        if light <= 50:
            assert abs(levels[-1] - (16 + 219 * (light / 203) ** (1 / 2.4))) <= 1.5
    assert levels == sorted(levels)
    assert levels[0] == 16 and levels[-2:] == [235, 235]


def test_tables_are_of_the_standards():
    # BT.2087 by hand: pure BT.2020 white, gray and black stay; green lies outside BT.709 and loses its red and blue.
    wide = table(Tone.WIDE)
    assert np.allclose(wide[0, 0, 0], 0) and np.allclose(wide[-1, -1, -1], 1, atol=1e-4)
    assert np.allclose(wide[16, 16, 16], 0.5, atol=1e-4)
    assert np.allclose(wide[0, -1, 0], [0, 1, 0])
    # BT.2100: HLG's 0.75 is reference white of 203 cd/m² on a screen of 1000; PQ's 0.58 is the same light.
    assert np.allclose(table(Tone.HLG)[24, 24, 24], table(Tone.PQ)[19, 19, 19], atol=0.02)


def test_a_real_file_of_high_dynamic_range(tmp_path):
    path = tmp_path / "hdr.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=64x48:duration=0.1:rate=25", "-pix_fmt", "yuv420p10le", "-c:v", "libx265"),
        *("-x265-params", "log-level=none:pools=1:colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc:range=limited"),
        path,
    )
    frame, aspect = first(path)
    assert frame.color_trc == 18
    made = Geometry([resolution(size=32)])(frame, aspect)
    assert size(made) == (32, 32) and made.color_trc == 1
    assert rgb(made).max() > 150


def test_a_source_may_change_its_shape():
    geometry, views = Geometry([resolution(size=64)]), Views()
    for _ in range(2):
        for width in (320, 322, 324, 326, 328, 330):
            frame = blank(width, 240, "yuv420p")
            assert size(geometry(frame, None)) == (64, 64)
            assert views.image(frame, View()).shape == (round(240 * 256 / width), 256, 3)


class Blur(Subsampler):
    """A subsampler of somebody else."""

    def filters(self, shape):
        return Filtered((("gblur", "sigma=2"), ("scale", "w=iw/2:h=ih/2")), Shape(shape.width // 2, shape.height // 2))


def test_subsamplers_follow_each_other():
    geometry = Geometry([Blur(None), resolution(size=64, operations=["crop"])])
    assert size(geometry(blank(320, 240, "rgb24"), Fraction(2))) == (64, 64)
    geometry = Geometry([Blur(None)])
    assert size(geometry(blank(320, 240, "yuv420p"), Fraction(2))) == (320, 120)


def test_the_same_pictures_come_out_every_time(tmp_path):
    video = make_video(tmp_path / "a.mp4", size=(322, 242), seconds=0.2, audio=False)

    def run():
        geometry, views = Geometry([resolution(size=64)]), Views()
        return [
            (b"".join(map(bytes, geometry(frame, None).planes)), views.image(frame, View()).tobytes())
            for frame in frames(video)
        ]

    assert run() == run()


def test_a_picture_that_cannot_be_converted_is_the_samples_fault():
    with pytest.raises(SampleError, match="cannot be converted") as fault:
        Geometry([])(blank(16, 16, "rgb4"), None)
    assert fault.value.error_class == "unsupported"


@settings(max_examples=25, deadline=None)
@given(
    width=st.integers(1, 600) | st.sampled_from([1, 2, 8000]),
    height=st.integers(1, 16) | st.sampled_from([1, 2, 33]),
    tall=st.booleans(),
    aspect=st.none() | st.fractions(min_value=Fraction(1, 20), max_value=20, max_denominator=90),
    pixel_format=st.sampled_from(["yuv420p", "yuv422p10le", "rgb24", "nv12"]),
    operations=st.lists(st.sampled_from(["scale", "crop", "pad"]), max_size=3, unique=True),
    multiple=st.sampled_from([2, 16]),
)
def test_any_shape_comes_out_as_foretold(width, height, tall, aspect, pixel_format, operations, multiple):
    if tall:
        width, height = height, width
    subsamplers = [resolution(operations=operations, size=32, multiple_of=multiple)] if operations else []
    geometry, frame = Geometry(subsamplers), blank(width, height, pixel_format)
    made = geometry(frame, aspect)
    assert Shape(*size(made)) == geometry.shape(frame, aspect)
    assert made.width % 2 == 0 and made.height % 2 == 0
    if subsamplers:
        assert made.width % multiple == 0 and made.height % multiple == 0


def interlaced(path, *, options=()):
    """A ball of light that moves between the two fields of each frame."""
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=96x64:duration=0.4:rate=50", "-vf", "tinterlace=interleave_top,setfield=tff"),
        *("-c:v", "mpeg2video", "-q:v", 2, "-flags", "+ildct+ilme+bitexact", *options, path),
    )
    return path


def combs(frame):
    """How much lines differ from their neighbours, against those two lines away."""
    image = rgb(frame).astype(int)
    return np.abs(image[1:] - image[:-1]).mean() / np.abs(image[2:] - image[:-2]).mean()


def luma(frame):
    return frame.reformat(format="gray").to_ndarray()


def test_interlaced_frames_become_whole_one_for_one(tmp_path):
    source = frames(interlaced(tmp_path / "a.mpg"))
    assert len(source) == 10 and all(map(is_interlaced, source))
    times = [(frame.pts, frame.duration, frame.time_base) for frame in source]
    combed = [combs(frame) for frame in source]
    deinterlacer = Deinterlacer()
    made = [done for frame in source for done in deinterlacer.push(frame)]
    assert len(made) == 9  # one is held: it is made from the next as well
    made += deinterlacer.flush()
    assert [(frame.pts, frame.duration, frame.time_base) for frame in made] == times
    assert not any(map(is_interlaced, made))
    assert max(map(combs, made)) < min(combed)
    assert deinterlacer.flush() == []


def test_one_frame_alone_is_made_whole_of_one_of_its_fields(tmp_path):
    frame = frames(interlaced(tmp_path / "a.mpg"))[3]
    told, combed = (frame.pts, frame.duration, frame.time_base), combs(frame)
    lines = luma(frame)
    deinterlacer = Deinterlacer()
    (made,) = deinterlacer.push(frame) + deinterlacer.flush()
    assert (made.pts, made.duration, made.time_base) == told
    assert not is_interlaced(made) and made.format.name == frame.format.name
    assert combs(made) < combed
    assert np.array_equal(luma(made)[::2], lines[::2]) and not np.array_equal(luma(made)[1::2], lines[1::2])


@pytest.mark.parametrize("format", ["yuv420p", "yuv411p", "yuv410p", "yuv422p10le", "gray", "rgb24"])
@pytest.mark.parametrize("side", [2, 15, 16])
def test_a_small_frame_alone_goes_through_the_deinterlacer(format, side):
    deinterlacer = Deinterlacer()
    made = deinterlacer.push(blank(side, side, format)) + deinterlacer.flush()
    assert [size(frame) for frame in made] == [(side, side)]


def test_whole_frames_go_through_the_deinterlacer_as_they_are(tmp_path):
    source = frames(make_video(tmp_path / "a.mp4", size=(96, 64), seconds=0.2, audio=False))
    deinterlacer = Deinterlacer()
    made = [done for frame in source for done in deinterlacer.push(frame)] + deinterlacer.flush()
    assert [frame.pts for frame in made] == [frame.pts for frame in source]
    assert all(bytes(one.planes[0]) == bytes(other.planes[0]) for one, other in zip(made, source, strict=True))


def test_the_deinterlacer_takes_another_shape_in_the_middle():
    deinterlacer = Deinterlacer()
    shapes = [(64, 48), (64, 48), (2, 2), (2, 2), (32, 48), (64, 48)]
    source = []
    for number, (width, height) in enumerate(shapes):
        frame = blank(width, height, "yuv420p")
        frame.pts = number
        source.append(frame)
    made = [done for frame in source for done in deinterlacer.push(frame)] + deinterlacer.flush()
    assert [(frame.pts, size(frame)) for frame in made] == list(enumerate(shapes))


@pytest.mark.parametrize("format, tolerance", [("jpg", 6), ("png", 5), ("webp", 8)])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_stills_have_the_right_colours(tmp_path, format, tolerance, matrix):
    options = ("-vf", f"scale=out_color_matrix={matrix},format=yuv420p", "-c:v", "libx264", "-qp", 1)
    tag = {"bt601": "bt470bg"}.get(matrix, matrix)
    made = Geometry([])(*first(quarters(tmp_path / "a.mp4", options=(*options, "-colorspace", tag))))
    data = still(made, format, 95)
    assert data == still(made, format, 95)
    image = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), 1), cv2.COLOR_BGR2RGB)
    assert_quarters(image)
    path = tmp_path / f"still.{format}"
    path.write_bytes(data)
    assert difference(shown(path, *size(made)), image) < tolerance


def test_a_lower_quality_makes_a_smaller_still(tmp_path):
    frame, _ = first(make_video(tmp_path / "a.mp4", seconds=0.1, audio=False))
    for format in ("jpg", "webp"):
        assert len(still(frame, format, 50)) < len(still(frame, format, 95))


def test_a_still_too_large_for_its_format_is_the_samples_fault():
    with pytest.raises(SampleError, match="16500x2 cannot be webp"):
        still(blank(16_500, 2, "yuv420p"), "webp", 90)


def columns(width, height):
    """Red and blue columns, a pixel each."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, ::2], picture[:, 1::2] = (255, 0, 0), (0, 0, 255)
    return picture


@pytest.mark.parametrize("pixel_format", ["rgb24", "gbrp", "rgb48le", "rgba"])
def test_a_still_picture_keeps_its_colours_and_odd_sizes(tmp_path, pixel_format):
    cv2.imwrite(str(tmp_path / "in.png"), cv2.cvtColor(columns(33, 21), cv2.COLOR_RGB2BGR))
    ffmpeg("-i", tmp_path / "in.png", "-pix_fmt", pixel_format, "-f", "nut", "-c:v", "rawvideo", tmp_path / "in.nut")
    frame, aspect = first(tmp_path / "in.nut")

    made = rgb(Geometry([], still=True)(frame, aspect))
    assert np.abs(made.astype(int) - columns(33, 21)).max() <= (pixel_format == "rgba")
    cropped = rgb(Geometry([resolution(operations=["crop"], size=16)], still=True)(frame, aspect))
    assert len(np.unique(cropped.reshape(-1, 3), axis=0)) == 2
