import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2d_spark.udfs.subsamplers import Filtered, Shape, subsampler
from v2d_spark.udfs.subsamplers.resolution import OPERATIONS, SIDES, Resolution, ResolutionSettings
from v2d_spark.udfs.vocabulary import ConfigError


def resolution(**settings):
    made = Resolution(ResolutionSettings(**settings))
    made.check()
    return made


def sizes(across, down, **settings):
    shape = resolution(**settings).filters(Shape(across, down)).shape
    return shape.width, shape.height


def test_it_is_found_by_its_name():
    assert subsampler("resolution") is Resolution


@pytest.mark.parametrize("width, height", [(1280, 720), (720, 1280), (1047, 576), (160, 120), (8000, 16), (1, 1), (224, 224)])
def test_by_default_all_become_squares_of_224(width, height):
    assert sizes(width, height) == (224, 224)


def test_the_default_scales_crops_and_pads():
    assert resolution().filters(Shape(1280, 720)).chain == (("scale", "398:224"), ("crop", "224:224"))
    assert resolution().filters(Shape(160, 120)).chain == (("pad", "224:224:-1:-1:black"),)
    assert resolution().filters(Shape(224, 224)) == Filtered((), Shape(224, 224))


@pytest.mark.parametrize(
    "by, expected",
    [
        ("shorter", (398, 224)),
        ("longer", (224, 126)),
        ("width", (224, 126)),
        ("height", (398, 224)),
        ("area", (298, 168)),  # 298 · 168 = 50,064 of 224² = 50,176
    ],
)
def test_size_is_of_the_side_that_is_named(by, expected):
    assert sizes(1280, 720, operations=["scale"], by=by) == expected


def test_of_a_portrait_the_shorter_side_is_its_width():
    assert sizes(1080, 1920, operations=["scale"]) == (224, 398)
    assert sizes(1080, 1920, operations=["scale"], by="width") == (224, 398)


def test_nothing_is_enlarged_unless_told():
    assert sizes(160, 120, operations=["scale"]) == (160, 120)
    assert sizes(160, 120, operations=["scale"], enlarge=True) == (298, 224)


def test_operations_are_done_in_their_order():
    first_scaled = resolution(operations=["scale", "pad"], size=224, by="longer").filters(Shape(1280, 720))
    first_padded = resolution(operations=["pad", "scale"], size=224, by="longer", width=1280, height=1280).filters(
        Shape(1280, 720)
    )
    assert first_scaled.chain == (("scale", "224:126"), ("pad", "224:224:-1:-1:black"))
    assert first_padded.chain == (("pad", "1280:1280:-1:-1:black"), ("scale", "224:224"))


def test_width_and_height_are_filled_before_a_crop_and_fitted_into_otherwise():
    frame = {"width": 640, "height": 360}
    assert resolution(**frame).filters(Shape(1920, 1080)).chain == (("scale", "640:360"),)
    assert resolution(**frame).filters(Shape(1440, 1080)).chain == (("scale", "640:480"), ("crop", "640:360"))
    fitted = resolution(operations=["scale", "pad"], **frame).filters(Shape(1440, 1080)).chain
    assert fitted == (("scale", "480:360"), ("pad", "640:360:-1:-1:black"))
    with pytest.raises(ConfigError, match="by is of size"):
        resolution(by="height", **frame)


def test_crop_and_pad_take_a_size_of_their_own():
    assert sizes(1280, 720, operations=["crop"], width=640, height=360) == (640, 360)
    assert sizes(320, 720, operations=["crop"], width=640, height=360) == (320, 360)
    assert sizes(320, 720, operations=["pad"], width=640, height=360) == (640, 720)


def test_what_is_over_a_multiple_is_cut_off():
    assert sizes(1280, 720, operations=["scale"], multiple_of=32) == (384, 224)
    assert sizes(321, 241, operations=["scale"], size=480) == (320, 240)
    assert sizes(10, 10, operations=["scale"], multiple_of=16) == (16, 16)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"operations": []}, "subsample.resolution.operations"),
        ({"operations": ["stretch"]}, "'stretch'"),
        ({"operations": ["crop", "crop"]}, "each once"),
        ({"operations": [["scale"]]}, "subsample.resolution.operations"),
        ({"by": "diagonal"}, "subsample.resolution.by must be one of shorter,"),
        ({"multiple_of": 3}, "subsample.resolution.multiple_of must be even"),
        ({"size": 225}, "subsample.resolution.size must be a multiple of"),
        ({"multiple_of": 48}, "subsample.resolution.size"),
        ({"width": 224}, "set together"),
        ({"height": 224}, "set together"),
        ({"width": 224, "height": 225}, "subsample.resolution.height must be a multiple"),
        ({"operations": ["scale"], "width": 224, "height": 224}, "are for crop and pad"),
    ],
)
def test_nonsense_is_refused_by_name(settings, words):
    with pytest.raises(ConfigError, match=r"subsample\.resolution") as refused:
        resolution(**settings)
    assert words in str(refused.value)


def test_size_need_be_no_multiple_where_it_is_an_area_or_not_used():
    resolution(operations=["scale"], by="area", size=225)
    resolution(operations=["crop"], size=225, width=64, height=64)


def test_all_settings_change_samples():
    assert all(field.metadata["changes_samples"] for field in dataclasses.fields(ResolutionSettings))


def side(shape, by):
    width, height = shape.width, shape.height
    return {
        "shorter": min(width, height),
        "longer": max(width, height),
        "width": width,
        "height": height,
        "area": (width * height) ** 0.5,
    }[by]


sides = st.integers(1, 10_000) | st.sampled_from([1, 2, 3, 16, 224, 321, 8000])


@given(
    shape=st.builds(Shape, sides, sides),
    operations=st.lists(st.sampled_from(OPERATIONS), min_size=1, max_size=3, unique=True),
    by=st.sampled_from(SIDES),
    multiple=st.sampled_from([2, 16, 32]),
    size=st.integers(1, 20),
    enlarge=st.booleans(),
)
def test_sizes_of_all_shapes(shape, operations, by, multiple, size, enlarge):
    settings = {"operations": operations, "by": by, "multiple_of": multiple, "size": size * multiple, "enlarge": enlarge}
    made = resolution(**settings).filters(shape)
    result = made.shape
    assert result.width % multiple == 0 and result.height % multiple == 0
    assert result.width >= multiple and result.height >= multiple
    if {"crop", "pad"} <= set(operations) and (operations[0] == "scale" or "scale" not in operations):
        assert (result.width, result.height) == (size * multiple, size * multiple)
    if not enlarge and "pad" not in operations:
        assert result.width <= max(shape.width, multiple) and result.height <= max(shape.height, multiple)
    if operations[0] == "scale" and made.chain and made.chain[0][0] == "scale":
        width, height = map(int, made.chain[0][1].split(":"))
        factor = size * multiple / side(shape, by)
        assert abs(width - shape.width * factor) <= 1 or width == 2
        assert abs(height - shape.height * factor) <= 1 or height == 2
        assert by == "area" or side(Shape(width, height), by) == size * multiple
        if not enlarge:
            assert width <= max(shape.width, 2) and height <= max(shape.height, 2)
