"""Scenes survive as text, and no text breaks the reader."""

from __future__ import annotations

import json
from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st
from random_values import magnitudes, numbers

from gan3d_ns.errors import UserError
from gan3d_ns.model_components.scenes import LARGEST_NUMBER, LARGEST_SCENE, ObjectEdit, Scene, SeedWay

whole = st.integers(-(2**70), 2**70)
lengths = numbers(-LARGEST_NUMBER, LARGEST_NUMBER)
vectors = st.tuples(lengths, lengths, lengths)
ways = st.none() | st.builds(SeedWay, whole, st.none() | whole, numbers(0.0, 1.0))
edits = st.builds(
    ObjectEdit,
    angle_deg=st.none() | lengths,
    turn_deg=lengths,
    centre=st.none() | vectors,
    shift=vectors,
    size=magnitudes(1e-6, LARGEST_NUMBER),
    shape=ways,
    appearance=ways,
    present=st.booleans(),
)
scenes = st.builds(
    Scene,
    num_objects=st.none() | st.integers(0, LARGEST_SCENE),
    objects=st.lists(edits, max_size=4).map(tuple),
    background=st.booleans(),
    background_turn_deg=lengths,
    background_shape=ways,
    background_appearance=ways,
    seed=whole,
)
kinds = (Scene, ObjectEdit, SeedWay)
names = st.sampled_from([*sorted({entry.name for kind in kinds for entry in fields(kind)}), "unknown"])
entries = st.none() | st.booleans() | st.integers() | st.floats(allow_subnormal=False) | st.text(max_size=5)
documents = st.recursive(
    entries, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)


@given(scenes)
def test_a_scene_comes_back_from_its_text(scene):
    text = scene.to_json()
    assert Scene.from_json(text) == scene
    assert Scene.from_json(text).to_json() == text
    assert isinstance(scene.name, str)
    assert scene.edit_of(len(scene.objects)) == ObjectEdit()


@given(documents.map(json.dumps) | st.text(max_size=30) | st.dictionaries(names, documents).map(json.dumps))
def test_other_texts_are_a_scene_or_one_sentence(text):
    try:
        scene = Scene.from_json(text)
    except UserError:
        return
    assert Scene.from_json(scene.to_json()) == scene
