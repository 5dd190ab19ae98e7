"""From the styles of a drawn scene to those of the scene that is wanted: rows of other scenes, in other places."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from gan3d_ns.fields.composite_field import CompositeField, CompositeStyles
from gan3d_ns.fields.giraffe_decoder import DecoderStyles
from gan3d_ns.fields.placement import first_free
from gan3d_ns.model_components.latents import between
from gan3d_ns.model_components.scenes import ObjectEdit, Scene, SeedWay

SEED_STRIDE = 7919
"""From the seed of a scene to those of the objects that are added to it."""
SHAPE_ENTRIES = ("first", "skips")
PLACE_ENTRIES = ("scales", "translations", "rotations", "present")

Codes = Callable[[int], Float[Tensor, "1 code"]]
"""The codes of a seed, truncated as those of the scene."""


def exchanged(rows: Tensor, index: int, row: Tensor) -> Tensor:
    """Rows along the second dimension with another one in a place."""
    return torch.cat((rows[:, :index], row[:, None], rows[:, index + 1 :]), dim=1)


def arranged(field: CompositeField, styles: CompositeStyles, scene: Scene, codes_of: Codes) -> CompositeStyles:
    """The styles of one scene after the edits: objects keep their rows, and further ones follow behind them.

    Shapes and appearances are taken from scenes of other seeds: the n-th object takes that of their n-th, objects that
    were added that of their first.
    """

    def on(way: SeedWay) -> CompositeStyles:
        codes = codes_of(way.seed)
        if way.second_seed is not None and way.amount != 0.0:
            codes = between(codes, codes_of(way.second_seed), way.amount, "slerp")
        return field.condition(codes)

    drawn = styles.present.shape[1]
    wanted = max(drawn, scene.num_objects or 0, len(scene.objects))
    for index in range(drawn, wanted):
        other = field.condition(codes_of(scene.seed + SEED_STRIDE * (index - drawn + 1)))
        styles = joined(field, styles, other)
    if scene.num_objects is not None:
        counted = torch.arange(wanted, device=styles.present.device) < scene.num_objects
        styles = replace(styles, present=counted.expand_as(styles.present))
    elif wanted > drawn:
        styles = replace(styles, present=torch.cat((styles.present[:, :drawn], styles.present[:, drawn:] & False), 1))
    for index, edit in enumerate(scene.objects):
        styles = moved(field, styles, index, edit)
        source = index if index < drawn else 0
        for way, names in ((edit.shape, SHAPE_ENTRIES), (edit.appearance, ("feature",))):
            if way is not None:
                rows = _rows(on(way).objects, source, names)
                things = {name: exchanged(getattr(styles.objects, name), index, row) for name, row in rows.items()}
                styles = replace(styles, objects=replace(styles.objects, **things))
    for way, names in ((scene.background_shape, SHAPE_ENTRIES), (scene.background_appearance, ("feature",))):
        if way is not None:
            other = on(way).background
            entries = {name: getattr(other, name) for name in names}
            styles = replace(styles, background=replace(styles.background, **entries))
    return replace(
        styles,
        background_turn=styles.background_turn - math.radians(scene.background_turn_deg),
        background_present=styles.background_present & scene.background,
    )


def _rows(things: DecoderStyles, index: int, names: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: getattr(things, name)[:, index] for name in names}


def joined(field: CompositeField, styles: CompositeStyles, other: CompositeStyles) -> CompositeStyles:
    """A scene with the first object of another one behind its own, where it keeps clear of them if objects should."""
    places = {name: torch.cat((getattr(styles, name), getattr(other, name)[:, :1]), dim=1) for name in PLACE_ENTRIES}
    padding = field.config.placement.padding
    if padding is not None:
        # All objects of the other scene have places, each of which would do.
        tries = other.translations[:, None]
        fixed = styles.translations[:, :, None].expand(-1, -1, tries.shape[2], -1)
        places["translations"] = first_free(torch.cat((fixed, tries), dim=1), places["scales"], padding)
    names = (*SHAPE_ENTRIES, "feature")
    things = {
        name: torch.cat((getattr(styles.objects, name), getattr(other.objects, name)[:, :1]), 1) for name in names
    }
    return replace(styles, **places, objects=DecoderStyles(**things))


def moved(field: CompositeField, styles: CompositeStyles, index: int, edit: ObjectEdit) -> CompositeStyles:
    """A scene with one object in another place; world lengths and angles become the field's."""
    scale, rotation = field.config.coordinate_scale, field.rotation.to(styles.translations)

    def in_field(vector: tuple[float, float, float]) -> Float[Tensor, "3"]:
        return scale * rotation @ styles.translations.new_tensor(vector)

    translation, angle = styles.translations[:, index], styles.rotations[:, index]
    if edit.centre is not None:
        translation = in_field(edit.centre).expand_as(translation)
    if edit.angle_deg is not None:
        angle = torch.full_like(angle, -math.radians(edit.angle_deg))
    rows = {
        "translations": translation + in_field(edit.shift),
        "rotations": angle - math.radians(edit.turn_deg),
        "scales": styles.scales[:, index] * edit.size,
        "present": styles.present[:, index] & edit.present,
    }
    return replace(styles, **{name: exchanged(getattr(styles, name), index, row) for name, row in rows.items()})
