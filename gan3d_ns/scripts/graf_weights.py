"""The weights that the GRAF release writes.

`train.py` of the release saves one file, `model.pt`: a dictionary whose entry "generator" is the state dict of the
network and "generator_test" that of its moving average, beside discriminator, optimizers and counters.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from gan3d_ns.field_components.frequency_encoding import encoded_dim
from gan3d_ns.fields.nerf_field import NerfFieldConfig, translate_graf_name
from gan3d_ns.scripts.weight_files import Release, fitting_state, read_plain

FIRST, COLOUR, HEAD = "pts_linears.0.weight", "views_linears.0.weight", "rgb_linear.weight"
GENERATOR_ENTRY, AVERAGE_ENTRY = "generator", "generator_test"


def field_sizes(state: Mapping[str, Tensor]) -> NerfFieldConfig | None:
    """Sizes of the field, read off the tensors' shapes; None where these are of no such network.

    The split of the latent is the release's: two halves, so that first layer (encoded position, shape code) and colour
    layer (feature, encoded direction, appearance code) tell the encodings' lengths.
    """
    plain = {name.removeprefix("module."): value for name, value in state.items()}
    if not {FIRST, COLOUR, HEAD} <= plain.keys() or any(plain[name].ndim != 2 for name in (FIRST, COLOUR, HEAD)):
        return None
    hidden, entry = plain[FIRST].shape
    in_colour = plain[COLOUR].shape[1] - hidden
    layers = [name for name in plain if name.startswith("pts_linears.") and name.endswith(".weight")]
    skips = [
        index - 1
        for index in range(1, len(layers))
        if plain.get(f"pts_linears.{index}.weight", plain[FIRST]).shape[1] == hidden + entry
    ]
    sizes = NerfFieldConfig(hidden_dim=hidden, num_layers=len(layers), skip_layer=skips[0] if skips else None)
    for encoded in (True, False):
        position = encoded_dim(sizes.position_octaves if encoded else 0)
        direction = encoded_dim(sizes.direction_octaves if encoded else 0)
        for seen in (direction, 0):
            if entry - position == in_colour - seen > 0:
                sizes.shape_dim = sizes.appearance_dim = entry - position
                sizes.positional_encoding, sizes.use_view_directions = encoded, seen > 0
                return sizes
    return None


GRAF_RELEASE = Release("GRAF", "model.pt", "NeRF, network_fn", field_sizes, translate_graf_name)


def graf_states(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """The network's state dict and its moving average, None where the file has none; a lone state dict will do.

    Raises:
        UserError: the file cannot be read, or is not of GRAF's generator.
    """
    content: Any = read_plain(path, GRAF_RELEASE)
    if not isinstance(content, Mapping) or GENERATOR_ENTRY not in content:
        return fitting_state(content, path, GRAF_RELEASE), None
    plain = fitting_state(content[GENERATOR_ENTRY], path, GRAF_RELEASE)
    average = content.get(AVERAGE_ENTRY)
    return plain, None if average is None else fitting_state(average, path, GRAF_RELEASE)
