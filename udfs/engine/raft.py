"""Optical flow by RAFT, with torchvision's networks: what there is of torch in this package."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from v2d_spark.udfs import locations
from v2d_spark.udfs.vocabulary import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: The networks that there are, by torchvision's names.
NETWORKS = ("raft_small", "raft_large")
#: Pixels of a side that they can look at, at least: their pyramid has four levels over an eighth of it.
SMALLEST = 128
_MULTIPLE = 8  # pixels that a side has to be a multiple of


class Raft:
    """A network, loaded.

    Args:
        network: its name.
        weights: where its weights are: a state dict, as torchvision's own files are.
        updates: how often it improves its flow.
        device: as torch names it.

    Raises:
        ConfigError: if torch is missing, sees no GPU where there is to be one, or the weights do not fit.
    """

    def __init__(self, network: str, weights: str, updates: int, device: str) -> None:
        try:
            import torch
            from torchvision.models import optical_flow
        except (ImportError, RuntimeError) as error:  # RuntimeError: the two do not fit each other
            raise ConfigError(
                f"The detector raft needs torch and torchvision ({error}); run: pip install 'v2d_spark[torch]'."
            ) from None
        if device != "cpu" and not torch.cuda.is_available():
            raise ConfigError(
                f"Torch {torch.__version__} sees no GPU where this task has one: install a build of torch that fits the "
                "driver, or set enrich.optical_flow.gpus=0 to run on CPUs."
            )
        model = {"raft_small": optical_flow.raft_small, "raft_large": optical_flow.raft_large}[network](weights=None)
        model.load_state_dict(_read(network, weights, model.state_dict()))
        self._model = model.eval().to(device)
        self._updates = updates
        self._device = device
        self.flow([_nothing(), _nothing()])

    def flow(self, pairs: Sequence[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.float32]]:
        """How far each pixel moves.

        Args:
            pairs: of pictures of one size, each (2, height, width, 3), RGB.

        Returns:
            For each pair (height, width, 2): to the right and down, in pixels.
        """
        import numpy as np
        import torch

        height, width = pairs[0].shape[1:3]
        with torch.inference_mode():
            pictures = torch.from_numpy(np.stack(pairs)).to(self._device).permute(1, 0, 4, 2, 3)
            # From -1 to 1, as they were trained.
            before, after = (_padded(picture.float().div(127.5).sub(1.0)) for picture in pictures)
            flow = self._model(before, after, num_flow_updates=self._updates)[-1]
            found: Any = flow[:, :, :height, :width].permute(0, 2, 3, 1).cpu().numpy()
        return list(found)


def _padded(pictures: Any) -> Any:
    """Repeat the last pixels to the right and below, until the sides are what the network takes."""
    from torch.nn import functional as F

    height, width = pictures.shape[-2:]
    return F.pad(pictures, (0, -width % _MULTIPLE, 0, -height % _MULTIPLE), mode="replicate")


def _read(network: str, weights: str, wanted: dict[str, Any]) -> dict[str, Any]:
    import torch

    try:
        with locations.open_read(weights) as file:
            state = torch.load(io.BytesIO(file.read()), map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(
            f"Setting enrich.optical_flow.weights: {weights} cannot be read here: {error.strerror or error}; executors "
            "must see it too."
        ) from None
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError):
        raise ConfigError(f"Setting enrich.optical_flow.weights: {weights} is no file of weights that torch saved.") from None
    told = {name: tuple(value.shape) for name, value in state.items()} if _is_state(state) else {}
    if told != {name: tuple(value.shape) for name, value in wanted.items()}:
        raise ConfigError(
            f"Setting enrich.optical_flow.weights: {weights} does not hold the weights of torchvision's {network}; "
            "enrich.optical_flow.network says which network it is."
        )
    found: dict[str, Any] = state
    return found


def _is_state(state: Any) -> bool:
    return isinstance(state, dict) and all(hasattr(value, "shape") for value in state.values())


def _nothing() -> npt.NDArray[np.uint8]:
    import numpy as np

    return np.zeros((2, SMALLEST, SMALLEST, 3), np.uint8)
