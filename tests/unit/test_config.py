from __future__ import annotations

from pathlib import Path

import pytest

from v2d_spark import config
from v2d_spark.udfs.subsamplers.cuts import Cuts
from v2d_spark.udfs.vocabulary import ConfigError


def test_defaults_preset_file_dict_and_overrides_give_the_same_kind_of_settings(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("fetch:\n  threads: 4\n")

    assert config.load() == config.load("default") == config.load({})
    assert config.load(file).fetch.threads == config.load({"fetch": {"threads": 4}}).fetch.threads == 4
    assert config.load(file, ["fetch.threads=5"]).fetch.threads == 5
    assert config.load(None, ["allow_hosts=[127.0.0.1, '10.0.0.0/8']"]).access.allow_hosts == ("127.0.0.1", "10.0.0.0/8")


@pytest.mark.parametrize(
    ("values", "overrides", "hosts"),
    [
        ({}, ["allow_hosts=127.0.0.1"], ["127.0.0.1"]),
        ({}, ["allow_hosts=127.0.0.1:8000"], ["127.0.0.1:8000"]),
        ({"allow_hosts": "localhost"}, [], ["localhost"]),
        ({"allow_hosts": ["a", "b"]}, ["allow_hosts="], []),
    ],
)
def test_one_text_is_a_list_of_one(values: dict[str, object], overrides: list[str], hosts: list[str]) -> None:
    assert config.load(values, overrides).allow_hosts == hosts


@pytest.mark.parametrize(
    ("values", "overrides", "told"),
    [
        ({"fetch": {"thread": 4}}, [], "no setting fetch.thread; did you mean fetch.threads"),
        ({"threads": 4}, [], "did you mean fetch.threads"),
        ({"spark.executor.cores": 4}, [], "is a setting of Spark"),
        ({"spark": {"executor": 1}}, [], "no setting spark"),
        ({"fetch": 4}, [], "holds settings of its own"),
        ({"fetch": {"threads": "four"}}, [], "must be a whole number, not 'four'"),
        ({"fetch": {"threads": True}}, [], "must be a whole number"),
        ({"fetch": {"threads": 0}}, [], "must be at least 1"),
        ({"fetch": {"read_timeout": float("nan")}}, [], "must be a number"),
        ({"fetch": {"probe_timeout": float("inf")}}, [], "must be a number that a machine can hold, not inf"),
        ({}, ["fetch.probe_timeout=.inf"], "fetch.probe_timeout must be a number"),
        ({"fetch": {"connect_timeout": 1e300}}, [], "must be at most 1000000"),
        ({"fetch": {"backoff": 10**400}}, [], "must be a number that a machine can hold"),
        ({"fetch": {"ca_file": "~nobody-of-this-name/ca.pem"}}, [], "is no readable PEM file"),
        ({"fetch": {"max_bytes": 1 << 63}}, [], "must be a whole number that a machine can hold"),
        ({"fetch": {"ca_file": "/nope"}}, [], "fetch.ca_file: /nope is no readable PEM file"),
        ({"fetch": {"user_agent": "a\nb"}}, [], "fetch.user_agent must be one line of Latin letters and signs, as HTTP has"),
        ({"fetch": {"user_agent": "蜘蛛"}}, [], "fetch.user_agent must be one line of Latin letters"),
        (
            {},
            ["scratch_dir=2024-99-99"],
            "The value in 'scratch_dir=2024-99-99' is not valid YAML; quote it, as in 'scratch_dir=\"2024-99-99\"'.",
        ),
        ({"scratch_dir": "~nobody-of-this-name/x"}, [], "~nobody-of-this-name/x is below the home folder of a user"),
        ({"scratch_dir": "s3://bucket/x"}, [], "s3://bucket/x is no path of this machine"),
        ({"allow_locations": ["s3://b/x", "~nobody-of-this-name"]}, [], "~nobody-of-this-name is below the home folder"),
        ({"inline_limit": 1 << 32}, [], "inline_limit must be at most 1073741823, not 4294967296"),
        ({"batch": {"row_group_bytes": 99999999999}}, [], "batch.row_group_bytes must be at most 1073741824"),
        ({"allow_hosts": ["a b"]}, [], "allow_hosts: 'a b' is no host"),
        ({"allow_hosts": {"localhost": 1}}, [], "must be a list such as [a, b], not {'localhost': 1}"),
        ({"subsample": {"cuts": {"framerates": "5"}}}, [], "must be a list such as [a, b], not '5'"),
        ({"allow_hosts": [1]}, [], "allow_hosts[0] must be a text"),
        ({"subsample": {"cut": {}}}, [], "no setting subsample.cut; did you mean subsample.cuts"),
        (
            {"subsample": {"cuts": {"treshold": 1}}},
            [],
            "no setting subsample.cuts.treshold; did you mean subsample.cuts.threshold",
        ),
        ({"subsample": {"cuts": {"threshold": "high"}}}, [], "subsample.cuts.threshold must be a number, not 'high'"),
        ({"subsample": {"cuts": {"min_scene_len": -1}}}, [], "subsample.cuts.min_scene_len must be at least 0"),
        ({}, ["subsample.cuts.detector=guess"], "subsample.cuts.detector must be one of content"),
        ({}, ["subsample.cuts=3"], "subsample.cuts holds settings of its own"),
        ({"subsample": ["cuts"]}, [], "subsample holds settings of its own"),
        ({"min_scene_len": 3}, [], "did you mean subsample.cuts.min_scene_len"),
        ({"encode_formats": {"sound": "mp3"}}, [], "are video, audio and image; 'sound' is none of them"),
        ({}, ["encode_formats.video=avi"], "encode_formats.video must be mp4, mkv or webm, not 'avi'"),
        ({"encode_formats": "mp4"}, [], "encode_formats must be a mapping"),
        ("downsample_ml", ["subsample.frames.at=first"], "set encode_formats.image to jpg, png or webp"),
        ({"subsample": {"frames": {}}, "encode_formats": {}}, [], "which encode_formats does not keep"),
        (
            {},
            ["subsample.frames.count=5"],
            "frames.count is for subsample.frames.at count and sharpest, not interval",
        ),
        ({}, ["subsample.frames={at: first, every_s: 2}"], "every_s is for subsample.frames.at interval, not first"),
        (
            {"subsample": {"frames": {}, "audio": {"rate": 16000}}},
            [],
            "changes what is not kept; set encode_formats.video or encode_formats.audio, or switch subsample.audio off",
        ),
        ({"subsample": {"frames": {}, "frame_rate": {"fps": 5}}}, [], "set encode_formats.video, or switch"),
        ({"subsample": {"resolution": {}}, "encode_formats": {"audio": "m4a"}}, [], "subsample.resolution changes what is not"),
        ({}, ["subsample.audio=true"], "Set one of subsample.audio.rate"),
        ({}, ["subsample.measure={picture: false, sound: false}"], "must not both be false"),
        ({}, ["subsample.clip.max_length=0.0000001"], "max_length must be 0, for no limit, or at least 0.01, not 1e-07"),
        ({}, ["subsample.clip.window_s=5"], "window_s is for subsample.clip.source windows, not input"),
        ({}, ["subsample.clip={source: windows, min_length: 20}"], "window_s (10) must not be below min_length (20)"),
        ({}, ["subsample.clip.max_length_strategy=first"], "max_length, which is not set"),
        ({}, ["fetch.threads"], "not of the form key=value"),
        ({}, ["allow_hosts=[a,"], "is not valid YAML; quote all of it for the shell, as in 'allow_hosts=[a, b]'."),
        ({}, ["encode_formats={video:"], "as in 'encode_formats={a: b}'."),
    ],
)
def test_a_wrong_setting_is_told_in_one_sentence(values: dict[str, object] | str, overrides: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        config.load(values, overrides)

    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["subsample.frames=true", "encode_formats.image=jpg"],
        ["encode_formats={}"],  # which clips there would be
        ["encode_formats={image: png}", "subsample.frame_rate=false"],  # sources may be pictures
        ["encode_formats={audio: m4a}", "subsample.resolution=false", "subsample.frame_rate=false"],
    ],
)
def test_settings_go_together_where_something_comes_of_each(overrides: list[str]) -> None:
    config.load("downsample_ml", overrides)

    sound_of_stills = {"frames": {}, "audio": {"rate": 16000}, "measure": {}}
    config.load({"subsample": sound_of_stills})


def test_users_of_one_machine_have_scratch_folders_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = config.load().scratch
    monkeypatch.setattr("os.getuid", lambda: 12345)

    assert config.load().scratch != mine
    assert config.load({"scratch_dir": "/fast"}).scratch == "/fast"
    assert config.load({"scratch_dir": "fast"}).scratch == str(Path.cwd() / "fast")
    assert config.load({"scratch_dir": "~/fast"}).scratch == str(Path.home() / "fast")


def test_a_missing_file_names_the_presets() -> None:
    with pytest.raises(ConfigError, match=r"presets are: .*default"):
        config.load("nowhere.yaml")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"- a\n- b\n", "must hold `key: value` lines, not a list"),
        (b"a: [1\n", "is not valid YAML"),
        (b"scratch_dir: 2024-99-99\n", "is not valid YAML: month must be in 1..12"),
        ("# Größe\n".encode("latin-1"), "is not text in UTF-8"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: bytes, told: str) -> None:
    (tmp_path / "bad.yaml").write_bytes(text)

    with pytest.raises(ConfigError, match=told):
        config.load(tmp_path / "bad.yaml")


def test_the_fingerprint_is_of_what_can_change_a_sample() -> None:
    assert config.load({"fetch": {"threads": 3}}).fingerprint == config.load().fingerprint
    assert config.load({"fetch": {"probe": False}}).fingerprint != config.load().fingerprint


def test_subsamplers_are_switched_on_and_off_by_name() -> None:
    base = config.load({"subsample": {"cuts": {"threshold": 11.5}, "select": {"min_side": 100}}})

    assert "cuts" not in config.load().subsample
    assert (base.subsample["cuts"].threshold, base.subsample["select"].min_side) == (11.5, 100)
    assert "cuts" not in config.load({"subsample": {"cuts": {"threshold": 1}}}, ["subsample.cuts=false"]).subsample
    assert config.load(None, ["subsample.cuts=true"]).subsample["cuts"].threshold is None
    assert config.load(None, ["subsample.cuts.threshold=11"]).subsample["cuts"].threshold == 11
    assert [one.name for one in base.subsamplers if one.name != "clip"] == ["cuts", "select"]


def test_settings_are_made_again_of_what_is_shown() -> None:
    told = config.load({"subsample": {"cuts": {}}, "encode_formats": {"video": "mp4"}}, ["subsample.probe=true"])

    assert config.load(told.to_dict()) == told
    assert told.to_dict()["subsample"]["select"] is False


def test_the_fingerprint_is_of_the_subsamplers_that_are_on(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, cuts = config.load(), config.load({"subsample": {"cuts": {}}})
    before = cuts.fingerprint

    assert before != plain.fingerprint
    assert config.load({"subsample": {"cuts": {"threshold": 3}}}).fingerprint != before
    assert config.load({"encode_formats": {}}).fingerprint != plain.fingerprint
    assert config.load({"keep_originals": True, "decode": {"timeout": 3}}).fingerprint == plain.fingerprint
    monkeypatch.setattr(Cuts, "version", 99)
    assert cuts.fingerprint != before
    assert config.load().fingerprint == plain.fingerprint


def test_every_setting_is_documented_and_every_preset_loads() -> None:
    assert all(one.doc for one in config.reference())
    assert all(config.load(name) for name in config.presets())


def test_an_unknown_preset_of_the_encoder_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"encode\.preset must be one of ultrafast, .*, not 'quick'"):
        config.load(overrides=["encode.preset=quick"])


def test_batches_grow_with_the_cores_unless_they_are_set() -> None:
    batch = config.load(None, []).batch

    assert [batch.sources_for(cores) for cores in (1, 20, 256)] == [50_000, 50_000, 640_000]
    assert [batch.bytes_for(cores) for cores in (1, 10, 256)] == [20 << 30, 20 << 30, 512 << 30]
    batch = config.load(None, ["batch.sources=7", "batch.bytes=8"]).batch
    assert (batch.sources_for(256), batch.bytes_for(256)) == (7, 8)
