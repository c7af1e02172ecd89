"""Tables that bring high dynamic range (PQ, HLG) and wide gamut to what every screen shows: BT.709, SDR.

libswscale can do it too (`scale=out_transfer=…`), but works out its table anew for each kind of picture, which takes it
seconds, and ours takes milliseconds. Sources: ITU-R BT.2100-2 (PQ's EOTF; HLG's inverse OETF and OOTF, nominal peak
1000 cd/m²), BT.2390-11 section 5.4.1 (the EETF that rolls off highlights), BT.2408 (203 cd/m² is reference white, which
SDR shows as 100 %), BT.2087 (primaries), BT.1886 (gamma 2.4).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_NODES = 33  # of the table, along each axis
_PEAK = 1000.0  # cd/m²: what nearly all is mastered for; brighter is shown as this
_WHITE = 203.0  # cd/m²
_HLG_GAMMA = 1.2  # of the OOTF at this peak
_GAMMA = 2.4
_MOST = 10_000.0  # cd/m² that PQ can say
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_TO_BT709 = (
    (1.660491, -0.587641, -0.072850),
    (-0.124550, 1.132900, -0.008349),
    (-0.018151, -0.100579, 1.118730),
)
_LUMINANCE = (0.2627, 0.6780, 0.0593)  # of BT.2020's primaries


class Tone(Enum):
    """What kind of picture a table is for; its primaries are BT.2020's.

    Attributes:
        PQ: perceptual quantiser, SMPTE ST 2084.
        HLG: hybrid log-gamma, ARIB STD-B67.
        WIDE: standard dynamic range.
    """

    PQ = "pq"
    HLG = "hlg"
    WIDE = "wide"


def _light_of_pq(code: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """cd/m² of PQ's codes, 0 to 1."""
    import numpy as np

    power = code ** (1 / _M2)
    light: npt.NDArray[np.float64] = (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1) * _MOST
    return light


def _pq_of_light(light: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    power = (light / _MOST) ** _M1
    code: npt.NDArray[np.float64] = ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
    return code


def _light_of_hlg(code: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """cd/m² that a screen of the nominal peak shows for HLG's codes, (…, 3), 0 to 1."""
    import numpy as np

    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    luminance = (scene @ np.array(_LUMINANCE))[..., None]
    light: npt.NDArray[np.float64] = _PEAK * luminance ** (_HLG_GAMMA - 1) * scene
    return light


def _rolled_off(light: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The EETF: what is below the knee stays, the peak becomes reference white, and a spline joins them. In cd/m²."""
    import numpy as np

    peak, white = _pq_of_light(np.array([_PEAK, _WHITE]))
    brightest = white / peak
    code = np.minimum(_pq_of_light(light) / peak, 1)
    knee = 1.5 * brightest - 0.5
    t = np.maximum(code - knee, 0) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * brightest
    return _light_of_pq(np.where(code < knee, code, spline) * peak)


def table(tone: Tone) -> npt.NDArray[np.float64]:
    """Work out a table.

    Returns:
        (nodes, nodes, nodes, 3), by blue, green and red of the input: R'G'B' of BT.709, 0 to 1.
    """
    import numpy as np

    axis = np.linspace(0, 1, _NODES)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    code = np.stack([red, green, blue], axis=-1)
    if tone is Tone.WIDE:
        light = code**_GAMMA
    else:
        shown = _light_of_pq(code) if tone is Tone.PQ else _light_of_hlg(code)
        # By the largest of the three and for all alike, so that no hue turns.
        largest = np.maximum(shown.max(axis=-1, keepdims=True), 1e-6)
        light = shown * (_rolled_off(largest) / largest) / _WHITE
    result: npt.NDArray[np.float64] = np.clip(light @ np.array(_TO_BT709).T, 0, 1) ** (1 / _GAMMA)
    return result


@cache
def _cube(tone: Tone) -> str:
    rows = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in table(tone).reshape(-1, 3).tolist())
    return f"LUT_3D_SIZE {_NODES}\n{rows}\n"


@contextmanager
def cube_file(tone: Tone) -> Iterator[str]:
    """A table as a `.cube` file, which the filter lut3d reads when it is made; red changes fastest."""
    with tempfile.TemporaryDirectory(prefix="v2d-") as folder:
        path = Path(folder) / "table.cube"
        path.write_text(_cube(tone))
        yield str(path)
