"""A checkpoint's weights under today's names, all of them checked."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from gan3d_ns.errors import UserError
from gan3d_ns.models.gan_model import GanModel

MEASURED = ("_model.prior_grid.", "path_length.")
"""Beginnings of the names of what is measured while training, by things that may be switched on or off meanwhile."""


def fitted_state(pipeline: nn.Module, model: GanModel, loaded_state: dict[str, Any]) -> dict[str, Tensor]:
    """The state of a checkpoint, as the pipeline of a model takes it.

    Raises:
        UserError: where the checkpoint belongs to another method or other sizes.
    """
    state = {name.replace("_model.module.", "_model."): value for name, value in loaded_state.items()}
    for name, generator in (("generator", model.generator), ("generator_ema", model.generator_ema)):
        prefix = f"_model.{name}.field."
        part = {key.removeprefix(prefix): state.pop(key) for key in list(state) if key.startswith(prefix)}
        state.update({prefix + key: value for key, value in generator.field.fit_to_checkpoint(part).items()})
    own = pipeline.state_dict()
    parameters = {name for name, _ in pipeline.named_parameters()}
    # It is then measured anew.
    for prefix in MEASURED:
        shapes = [{name: part[name].shape for name in part if name.startswith(prefix)} for part in (own, state)]
        if shapes[0] != shapes[1]:
            state = {name: value for name, value in state.items() if name not in shapes[1]}
            state.update({name: own[name] for name in shapes[0]})
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    resized = [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
    if missing or unknown or resized:
        example = (missing or unknown or sorted(resized))[0]
        raise UserError(
            f"the checkpoint does not fit this method: {len(missing)} tensors are missing, {len(unknown)} are "
            f"unknown and {len(resized)} have another size (for example {example}). Use the method and the sizes "
            "that the checkpoint was trained with; they stand in the config.yml beside it."
        )
    strange = [name for name in own if own[name].is_floating_point() != state[name].is_floating_point()]
    spoilt = [name for name in parameters if not bool(state[name].isfinite().all())]
    if strange or spoilt:
        raise UserError(
            f"the checkpoint is spoilt: {len(spoilt)} of its tensors hold numbers that are not finite and "
            f"{len(strange)} numbers of another kind (for example {min(spoilt or strange)}). Take an older checkpoint "
            "of the run."
        )
    return state
