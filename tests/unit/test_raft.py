"""Optical flow by RAFT against a plain loop of the same network, with random weights: on the CPU, and on a GPU if there is."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.support.media import ffmpeg, make_video, samples_folder
from v2d_spark.udfs import devices
from v2d_spark.udfs.engine.media_child import MediaChild
from v2d_spark.udfs.engine.model_batches import does_not_fit
from v2d_spark.udfs.engine.model_child import ModelChild, PreparedSample
from v2d_spark.udfs.engine.raft import Raft
from v2d_spark.udfs.enrichers.optical_flow import OpticalFlow, OpticalFlowSettings
from v2d_spark.udfs.vocabulary import ConfigError, SampleError, V2dError

SIDE = 128
NETWORK = {"detector": "raft", "network": "raft_small", "downsample_size": SIDE, "updates": 4, "dtype": "fp32"}


def test_a_missing_extra_is_told_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ConfigError, match=r"needs torch and torchvision .*; run: pip install 'v2d_spark\[torch\]'\.$"):
        Raft("raft_small", "weights.pth", 12, "cpu")


def test_weights_count_by_what_they_are(tmp_path: Path) -> None:
    def fingerprint(name: str, content: bytes, **settings: Any) -> str:
        (tmp_path / name).write_bytes(b"\x80" + content)
        one = OpticalFlow(OpticalFlowSettings(weights=str(tmp_path / name), **NETWORK | settings))
        one.check()
        return one.fingerprint

    assert fingerprint("a.pth", b"a") == fingerprint("b.pth", b"a", gpus=0.5, winsize=7, batch_size=2)
    others = [fingerprint("c.pth", b"c"), fingerprint("a.pth", b"a", updates=12), fingerprint("a.pth", b"a", fps=1.0)]
    assert len({fingerprint("a.pth", b"a"), *others}) == 4
    # What the network has of its own changes nothing of the others.
    assert (
        OpticalFlow(OpticalFlowSettings(weights="w", updates=3)).fingerprint == OpticalFlow(OpticalFlowSettings()).fingerprint
    )


def test_pictures_are_prepared_for_the_network(tmp_path: Path) -> None:
    path = make_video(tmp_path / "wide.mp4", seconds=2, size=(320, 180), audio=False)
    one = OpticalFlow(OpticalFlowSettings(**NETWORK))
    told = one.run(str(path), str(tmp_path / "pictures"))
    pictures = np.load(tmp_path / "pictures")
    assert (pictures.shape, pictures.dtype) == ((4, 128, 228, 3), np.uint8)
    assert told == {"optical_flow_shape": [4, 128, 228, 3], "optical_flow_fps": 2.0}
    # Red is the first channel: the test picture has some in a corner of its own.
    first = next(iter(cv2_frames(path)))
    assert np.abs(pictures[0].astype(int) - cv2.resize(first, (228, 128), interpolation=cv2.INTER_AREA)).mean() < 3
    model = one.model()
    assert model is not None
    items = model.items(str(tmp_path / "pictures"))
    assert [item.shape for item in items] == [(2, 128, 228, 3)] * 3
    assert np.array_equal(items[1], pictures[1:3])
    small = make_video(tmp_path / "small.mp4", size=(320, 100), audio=False)
    with pytest.raises(SampleError, match="raft wants 128 pixels"):
        one.run(str(small), str(tmp_path / "pictures"))


def cv2_frames(path: Path) -> Iterator[Any]:
    """Its frames, RGB."""
    capture = cv2.VideoCapture(str(path))
    while True:
        ok, frame = capture.read()
        if not ok:
            return
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch = pytest.importorskip("torch", reason="needs the extra torch: pip install 'v2d_spark[torch]'")
    flow = pytest.importorskip("torchvision.models.optical_flow", reason="needs the extra torch")
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "raft_small.pth"
    torch.save(flow.raft_small(weights=None).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of a film, at 24 frames a second."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    footage = samples_folder() / "video" / "demo.mp4"
    ffmpeg("-ss", 5, "-t", 3, "-i", footage, "-an", "-c:v", "libx264", "-preset", "ultrafast", "-threads", 1, path)
    return path


def settings_of(weights: Path, **settings: Any) -> dict[str, Any]:
    one = OpticalFlow(OpticalFlowSettings(weights=str(weights), **NETWORK | settings))
    one.check()
    return one.told()


def plainly(pictures: Any, weights: Path) -> Any:
    """The flow of each picture to the next, one pair after the other, by torchvision alone."""
    import torch
    from torchvision.models.optical_flow import raft_small

    network = raft_small(weights=None).eval()
    network.load_state_dict(torch.load(weights))
    flows = []
    for pair in itertools.pairwise(pictures):
        height, width = pair[0].shape[:2]
        below, beside = -height % 8, -width % 8
        before, after = (
            torch.from_numpy(np.pad(picture, ((0, below), (0, beside), (0, 0)), mode="edge")).permute(2, 0, 1)[None] / 127.5 - 1
            for picture in pair
        )
        with torch.no_grad():
            flow = network(before, after, num_flow_updates=4)[-1][0]
        flows.append(flow[:, :height, :width].permute(1, 2, 0).numpy())
    return np.array(flows)


def device_of_this_host() -> list[tuple[str, ...]]:
    """No GPU, and one where there is one that torch sees."""
    found: list[tuple[str, ...]] = [()]
    if devices.found():
        import torch

        if torch.cuda.is_available():
            found.append((devices.found()[0],))
    return found


@pytest.mark.big
def test_it_is_what_the_network_says_of_each_pair(weights: Path, film: Path, tmp_path: Path) -> None:
    settings = settings_of(weights, batch_size=2)
    model = OpticalFlow(OpticalFlowSettings(**settings)).model()
    assert model is not None
    decoder = MediaChild()
    columns = decoder.enrich("optical_flow", settings, film, tmp_path / "pictures", timeout=60)
    decoder.close()
    pictures = np.load(tmp_path / "pictures")
    wanted = plainly(pictures, weights)
    assert len(wanted) == 5 and np.abs(wanted).mean() > 0.01
    for addresses in device_of_this_host():
        child = ModelChild("optical_flow", settings, addresses, dataclasses.replace(model.resources, cpus=1))
        samples = [PreparedSample(str(tmp_path / "pictures"), columns, str(tmp_path / f"flow{n}")) for n in range(2)]
        told = child.process(samples, timeout=120)
        child.close()
        for one, sample in zip(told, samples, strict=True):
            flow = np.load(sample.output)
            assert flow.dtype == np.float32
            # On a GPU sums are in another order, and of fewer bits.
            close = {"atol": 1e-4, "rtol": 1e-4} if not addresses else {"atol": 0.05, "rtol": 0.02}
            np.testing.assert_allclose(flow, wanted, **close)
            assert isinstance(one, dict)
            per_frame = np.linalg.norm(wanted, axis=-1).mean(axis=(1, 2))
            assert one["mean_optical_flow_magnitude_per_frame"] == pytest.approx(per_frame, rel=0.02)
            assert set(one) == {column.name for column in OpticalFlow.columns}
            assert one["optical_flow_shape"] == list(wanted.shape)
            assert (one["optical_flow_downsample_size"], one["optical_flow_fps"]) == (SIDE, 2.0)


@pytest.mark.big
@pytest.mark.parametrize(
    ("content", "network", "complaint"),
    [
        (None, "raft_large", r"does not hold the weights of torchvision's raft_large; .*\.network says which"),
        (b"\x80 no pickle of torch's", "raft_small", "is no file of weights that torch saved"),
        ({"module.fnet.conv1.weight": [1.0]}, "raft_small", "does not hold the weights of torchvision's raft_small"),
    ],
)
def test_wrong_weights_end_the_job(
    content: Any, network: str, complaint: str, weights: Path, film: Path, tmp_path: Path
) -> None:
    import torch

    path = tmp_path / "wrong.pth"
    if isinstance(content, dict):
        torch.save({name: torch.tensor(value) for name, value in content.items()}, path)
    else:
        path.write_bytes(content or weights.read_bytes())
    settings = settings_of(path, network=network)
    model = OpticalFlow(OpticalFlowSettings(**settings)).model()
    assert model is not None
    child = ModelChild("optical_flow", settings, (), model.resources)
    with pytest.raises(V2dError, match=complaint):
        child.process([PreparedSample(str(tmp_path / "pictures"), {}, str(tmp_path / "flow"))], timeout=120)
    child.close()


@pytest.mark.big
def test_torch_names_a_want_of_memory_as_is_expected(weights: Path) -> None:
    import torch

    assert does_not_fit(torch.cuda.OutOfMemoryError())
