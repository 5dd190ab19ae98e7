"""The weights that the CAMPARI release writes.

`train.py` of the release saves `model.pt`: a dictionary whose entry "model" holds the state dicts of generator,
discriminator and the generator's moving average under the prefixes "generator.", "discriminator." and
"generator_test.". A generator has the networks `decoder`, `decoder_bg` where there is a background, and
`latent_cameras`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from gan3d_ns.cameras.camera_generator import CameraGeneratorConfig
from gan3d_ns.cameras.camera_vectors import VECTOR_LENGTHS, Parametrisation
from gan3d_ns.cameras.pose_prior import PosePriorConfig
from gan3d_ns.errors import UserError
from gan3d_ns.fields.decomposed_field import DecomposedFieldConfig, translate_campari_name
from gan3d_ns.scripts.weight_files import Release, fitting_state, read_plain

MODEL_ENTRY, GENERATOR_PREFIX, AVERAGE_PREFIX = "model", "generator.", "generator_test."
CAMERA_PREFIX = "latent_cameras."
UNUSED = (".skips.", ".skips_c.")
"""Layers that the release has and never uses."""
FIRST, SHAPE, APPEARANCE = "decoder.fc_in.weight", "decoder.fc_c.weight", "decoder.fc_view_c.weight"
VIEW, BEHIND = "decoder.fc_view.weight", "decoder_bg.fc_in.weight"


def octaves(length: int, dim: int) -> int:
    """How many octaves make an encoding of some length, of vectors of length ``dim``."""
    return (length // dim - 1) // 2


def field_sizes(state: Mapping[str, Tensor]) -> DecomposedFieldConfig | None:
    """Sizes of the field, read off the tensors' shapes; None where these are of no such networks."""
    if not {FIRST, SHAPE, APPEARANCE} <= state.keys() or any(
        state[name].ndim != 2 for name in (FIRST, SHAPE, APPEARANCE)
    ):
        return None
    hidden, encoded = state[FIRST].shape
    layers = [name for name in state if name.startswith("decoder.blocks.") and name.endswith(".weight")]
    sizes = DecomposedFieldConfig(
        background_field=BEHIND in state,
        shape_dim=state[SHAPE].shape[1],
        appearance_dim=state[APPEARANCE].shape[1],
        hidden_dim=hidden,
        num_layers=max(1, len(layers)),
        position_octaves=octaves(encoded, 3),
        use_view_directions=VIEW in state,
    )
    if VIEW in state:
        sizes.direction_octaves = octaves(state[VIEW].shape[1], 3)
    if BEHIND in state:
        sizes.background_octaves = octaves(state[BEHIND].shape[1], 4)
    return sizes


CAMPARI_RELEASE = Release("CAMPARI", "model.pt", "decoder, decoder_bg", field_sizes, translate_campari_name)


class CameraSizes(NamedTuple):
    """Sizes of a camera network."""

    vector: int
    """Length of the camera vectors it maps: 5 or 8."""
    hidden: int
    layers: int


class CampariWeights(NamedTuple):
    """A generator's state dict in its parts, under the release's names without `latent_cameras.`"""

    field: dict[str, Tensor]
    cameras: dict[str, Tensor]

    @property
    def camera_sizes(self) -> CameraSizes:
        """Sizes of the camera network, read off the shapes."""
        hidden, vector = self.cameras["fc_in.weight"].shape
        layers = sum(name.startswith("blocks.") and name.endswith(".weight") for name in self.cameras)
        return CameraSizes(vector, hidden, layers)


def generator_parts(state: Any, path: Path) -> CampariWeights:
    """A generator's state dict in its parts, checked.

    Raises:
        UserError: it is no state dict of CAMPARI's generator.
    """
    plain: Any = state
    cameras: dict[str, Tensor] = {}
    if isinstance(state, Mapping) and all(isinstance(value, Tensor) for value in state.values()):
        named = {str(name).replace(".module.", "."): value for name, value in state.items()}
        plain = {
            name: value
            for name, value in named.items()
            if not name.startswith(CAMERA_PREFIX) and not any(part in name for part in UNUSED)
        }
        cameras = {
            name.removeprefix(CAMERA_PREFIX): value for name, value in named.items() if name.startswith(CAMERA_PREFIX)
        }
    field = fitting_state(plain, path, CAMPARI_RELEASE)
    entry, head = cameras.get("fc_in.weight"), cameras.get("fc_out.weight")
    lengths = list(VECTOR_LENGTHS.values())
    if entry is None or head is None or entry.ndim != 2 or entry.shape[1] not in lengths:
        found = "no camera generator (latent_cameras)"
        if entry is not None:
            found = f"a camera generator whose first layer has the shape {tuple(entry.shape)}"
        raise UserError(f"{path} has {found}; those of CAMPARI map vectors of {lengths[0]} or {lengths[1]} numbers.")
    weights = CampariWeights(field, cameras)
    vector, hidden, layers = weights.camera_sizes
    form: Parametrisation = "normal" if vector == VECTOR_LENGTHS["normal"] else "full"
    try:
        fresh = CameraGeneratorConfig(parametrisation=form, hidden_dim=hidden, num_layers=layers)
        fresh.setup(prior=PosePriorConfig()).load_authors_weights(cameras)
    except (RuntimeError, UserError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} has a camera generator that is none of CAMPARI's: {reason}") from error
    return weights


def campari_states(path: Path) -> tuple[CampariWeights, CampariWeights | None]:
    """The generator's parts and those of its moving average, None where the file has none; a lone generator will do.

    Raises:
        UserError: the file cannot be read, or is not of CAMPARI's generator.
    """
    content: Any = read_plain(path, CAMPARI_RELEASE)
    if isinstance(content, Mapping) and isinstance(content.get(MODEL_ENTRY), Mapping):
        content = content[MODEL_ENTRY]
    if not isinstance(content, Mapping) or not any(str(name).startswith(GENERATOR_PREFIX) for name in content):
        return generator_parts(content, path), None

    def part(prefix: str) -> dict[str, Any]:
        named = {str(name): value for name, value in content.items()}
        return {name[len(prefix) :]: value for name, value in named.items() if name.startswith(prefix)}

    average = part(AVERAGE_PREFIX)
    plain = generator_parts(part(GENERATOR_PREFIX), path)
    return plain, generator_parts(average, path) if average else None
