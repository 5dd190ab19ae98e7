"""From what is said about an object to the code that each layer of its field takes."""

from __future__ import annotations

from typing import Optional

import torch
from jaxtyping import Float
from torch import Tensor

from gan3d_ns.errors import UserError
from gan3d_ns.fields.base_field import GenerativeField, Styles
from gan3d_ns.fields.composite_field import CompositeField
from gan3d_ns.model_components.latents import LatentSelection, SavedLatent, between, whole_seed
from gan3d_ns.model_components.scene_arrangement import arranged
from gan3d_ns.models.generator import Generator


def latent_of_seed(
    field: GenerativeField, seed: int, appearance_seed: Optional[int] = None
) -> Float[Tensor, "1 latent"]:
    """The latent that belongs to a seed, the same for every device; on the CPU.

    Its appearance is that of ``appearance_seed``, where there is one and the latent separates appearance.
    """
    latent = torch.randn(1, field.latent_dim, generator=torch.Generator().manual_seed(whole_seed(seed)))
    if appearance_seed is not None and "appearance" in field.latent_parts:
        part = field.latent_parts["appearance"]
        latent[:, part] = latent_of_seed(field, appearance_seed)[:, part]
    return latent


def saved_codes(field: GenerativeField, saved: SavedLatent) -> Float[Tensor, "layer 1 code"]:
    """The codes of a saved object.

    Raises:
        UserError: it was saved by another method or other sizes.
    """
    wanted = len(field.style_layers), field.code_dim
    if tuple(saved.codes.shape) != wanted:
        method, (layers, numbers) = saved.metadata.get("method") or "another method", saved.codes.shape
        raise UserError(
            f"the latent {saved.name} has {layers} layers of {numbers} numbers (made by {method}), but this run wants "
            f"{wanted[0]} of {wanted[1]}; open it with the run that it was saved from."
        )
    return saved.codes[:, None]


@torch.no_grad()
def layer_codes(generator: Generator, selection: LatentSelection) -> Float[Tensor, "layer 1 code"]:
    """The code that each layer of the field takes for one object: truncated, interpolated, then mixed.

    Raises:
        UserError: it is a saved object that does not fit the field.
    """
    field, centre, appearance = generator.field, generator.mean_code, selection.appearance_seed
    amount, curve, num_layers = selection.interpolation, selection.curve, len(generator.field.style_layers)

    def latent(seed: int) -> Float[Tensor, "1 latent"]:
        return latent_of_seed(field, seed, appearance).to(centre)

    def codes_of(latents: Float[Tensor, "1 latent"]) -> Float[Tensor, "layer 1 code"]:
        codes = generator.layer_codes(latents, selection.truncation)
        if appearance is None or not field.appearance_layers:
            return codes
        codes, worn = codes.clone(), list(field.appearance_layers)
        codes[worn] = generator.layer_codes(latent(appearance), selection.truncation)[worn]
        return codes

    def end(seed: int, saved: Optional[SavedLatent]) -> Float[Tensor, "layer 1 code"]:
        return codes_of(latent(seed)) if saved is None else saved_codes(field, saved).to(centre)

    if amount > 0.0 and selection.used_space == "latents":
        codes = codes_of(between(latent(selection.seed), latent(selection.second_seed), amount, curve))
    else:
        codes = end(selection.seed, selection.saved)
        if amount > 0.0:
            second = end(selection.second_seed, selection.second_saved)
            # An arc of codes runs around the average object.
            origin = centre if curve == "slerp" else torch.zeros_like(centre)
            codes = origin + between(codes - origin, second - origin, amount, curve)
    if selection.mixed_seed is not None and selection.mixed_layers:
        codes, others = codes.clone(), codes_of(latent(selection.mixed_seed))
        taken = [index for index in selection.mixed_layers if index < num_layers]
        codes[taken] = others[taken]
    return codes


@torch.no_grad()
def selected_styles(generator: Generator, selection: LatentSelection) -> Styles:
    """The styles of one object or scene: its layers' codes (see `layer_codes`), and then what is done to its things.

    Raises:
        UserError: it is a saved object that does not fit the field, or a scene for a field that has none.
    """
    field, scene = generator.field, selection.used_scene
    styles = field.condition_layers(layer_codes(generator, selection))
    if scene is None:
        return styles
    if not isinstance(field, CompositeField):
        raise UserError(
            f"{type(field).__name__} shows a single object, whose parts cannot be moved; leave out the scene, or take "
            "a method with a composite field (giraffe)."
        )

    def codes_of(seed: int) -> Float[Tensor, "1 code"]:
        return generator.codes(latent_of_seed(field, seed).to(generator.mean_code), selection.truncation)

    return arranged(field, styles, scene, codes_of)
