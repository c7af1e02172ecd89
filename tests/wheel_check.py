"""Check a built wheel: its files, and a small job run with it alone, in a new environment outside the checkout.

python tests/wheel_check.py dist/v2d_spark-0.1.0-py3-none-any.whl
"""

from __future__ import annotations

import functools
import http.server
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent

MAKE_VIDEO = """
import sys
import av
import numpy as np

with av.open(sys.argv[1], "w") as out:
    stream = out.add_stream("libx264", rate=25)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    for number in range(25):
        frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number * 10, dtype=np.uint8), format="rgb24")
        for packet in stream.encode(frame):
            out.mux(packet)
    for packet in stream.encode(None):
        out.mux(packet)
"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def expected_files() -> Iterator[str]:
    """Names that the wheel must hold: everything in the package, through its links to udfs, jobs and conf."""
    for folder, _, names in os.walk(CHECKOUT / "v2d_spark", followlinks=True):
        if not folder.endswith("__pycache__"):
            yield from (str((Path(folder) / name).relative_to(CHECKOUT)) for name in names)


def check_files(wheel: Path) -> None:
    """Fail unless the wheel holds each file of the package once, and nothing else."""
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert len(names) == len(set(names)), f"files are in the wheel twice: {sorted(n for n in names if names.count(n) > 1)}"
    wanted = set(expected_files())
    assert set(names) == wanted, f"missing: {sorted(wanted - set(names))}; too much: {sorted(set(names) - wanted)}"


def check_job(wheel: Path, folder: Path) -> None:
    """Install the wheel into a new environment under `folder`, and take one video to a table and a tar there."""
    venv.create(folder / "env", with_pip=True)
    binaries = folder / "env" / "bin"
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV", "SPARK_HOME")}
    work = folder / "work"
    work.mkdir()

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=work, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    run(binaries / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[local]")
    v2d = binaries / "v2d"
    assert "download" in run(v2d, "--help")

    site = folder / "site"
    site.mkdir()
    run(binaries / "python", "-c", MAKE_VIDEO, site / "grey.mp4")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        (work / "urls.txt").write_text(f"http://{address}/grey.mp4\nhttp://{address}/missing.mp4\n")
        run(v2d, "download", "urls.txt", "--dataset", "ds", f"allow_hosts=[{address}]")
        server.shutdown()

    answer = run(v2d, "sql", "--dataset", "ds", "SELECT width, height FROM samples", "--format", "csv")
    assert answer.split() == ["width,height", "64,48"], answer
    run(v2d, "export", "--dataset", "ds", "--to", "out")
    (tar,) = sorted((work / "out").glob("*.tar"))
    with tarfile.open(tar) as shard:
        names = {Path(name).suffix: shard.extractfile(name).read() for name in shard.getnames()}  # type: ignore[union-attr]
    assert names[".mp4"] == (site / "grey.mp4").read_bytes()
    assert set(names) == {".mp4", ".txt", ".json"}, sorted(names)


def main() -> None:
    """Check the wheel that the command line names."""
    wheel = Path(sys.argv[1]).resolve()
    check_files(wheel)
    with tempfile.TemporaryDirectory(prefix="v2d-wheel-") as folder:
        check_job(wheel, Path(folder))
    print(f"{wheel.name}: files and a small job are good")


if __name__ == "__main__":
    main()
