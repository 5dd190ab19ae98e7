"""The weights that the GOF release writes.

`train.py` of the release saves `...generator.pth`, a state dict, and beside it `...ema.pth`, a pickled object of the
package torch_ema that holds the moving averages of the parameters in order; its scripts always render the averages.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from gan3d_ns.fields.film_siren_field import FilmSirenFieldConfig, translate_gof_name
from gan3d_ns.scripts.weight_files import Release


def field_sizes(state: Mapping[str, Tensor]) -> FilmSirenFieldConfig | None:
    """Sizes of the field, read off the tensors' shapes; None where the tensors that tell them are missing."""
    first, mapping = "siren.network.0.layer.weight", "siren.mapping_network.network.0.weight"
    if first not in state or mapping not in state or state[first].ndim != 2 or state[mapping].ndim != 2:
        return None
    num_layers = sum(name.startswith("siren.network.") and name.endswith(".layer.weight") for name in state)
    return FilmSirenFieldConfig(
        latent_dim=state[mapping].shape[1], hidden_dim=state[first].shape[0], num_layers=num_layers
    )


GOF_RELEASE = Release("GOF", "generator.pth", "SPATIALSIRENBASELINE", field_sizes, translate_gof_name)
