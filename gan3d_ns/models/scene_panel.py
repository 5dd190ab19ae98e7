"""The viewer's Scene panel, for the fields that have scenes."""

from __future__ import annotations

from typing import Optional

from gan3d_ns.fields.base_field import GenerativeField
from gan3d_ns.fields.composite_field import CompositeField
from gan3d_ns.viewer.scene_controls import SceneControls

LEAST_REACH = 0.05
"""In world units: also of methods that keep their objects in the middle."""


def scene_controls(field: GenerativeField, background: bool = True) -> Optional[SceneControls]:
    """Controls for the objects of a composite field, which can be moved across their range; None for other fields."""
    if not isinstance(field, CompositeField):
        return None
    places = field.config.placement
    span = [high - low for low, high in zip(places.lowest_translation, places.highest_translation, strict=True)]
    size = max(places.largest_scale)
    reach = max(LEAST_REACH, (max(span) + size) / field.config.coordinate_scale)
    return SceneControls(field.config.num_objects, reach, background)
