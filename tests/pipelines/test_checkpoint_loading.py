"""Which checkpoints a pipeline takes, and which it refuses."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from pipeline_steps import (
    MakePipeline,
)


@pytest.mark.parametrize(
    ("method_name", "settings"),
    [("gof-gan-paper", {}), ("gof-gan-tiny", {"pipeline.model.tri_plane.decoder_dim": 12})],
    ids=["another method", "another size"],
)
def test_a_checkpoint_of_another_method_or_size_is_refused(
    method_name: str, settings: dict[str, Any], make_pipeline: MakePipeline
) -> None:
    from gan3d_ns.errors import UserError

    pipeline, other = make_pipeline(), make_pipeline(method_name, **settings)
    before = copy.deepcopy(pipeline.state_dict())
    with pytest.raises(UserError, match="the checkpoint does not fit this method") as refusal:
        pipeline.load_pipeline(other.state_dict(), 3)
    assert "\n" not in str(refusal.value)
    torch.testing.assert_close(pipeline.state_dict(), before, rtol=0, atol=0)


def test_its_own_checkpoint_is_taken_whole(make_pipeline: MakePipeline) -> None:
    pipeline, other = make_pipeline(), make_pipeline()
    with torch.no_grad():
        for tensor in (*other.parameters(), *other.buffers()):
            tensor.add_(1.0)
    pipeline.load_pipeline(other.state_dict(), 3)
    torch.testing.assert_close(pipeline.state_dict(), other.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(("saved", "built"), [("tcnn", "torch"), ("torch", "tcnn")])
def test_a_checkpoint_of_the_other_hash_layout_opens(
    saved: str, built: str, make_pipeline: MakePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run trained with tiny-cuda-nn opens on a machine without it, and goes on with the optimizers made before."""
    from gan3d_ns.field_components import hash_encoding

    monkeypatch.setattr(hash_encoding, "tcnn_works", lambda: False)
    source, pipeline = (
        make_pipeline(**{"pipeline.model.field": "hash", "pipeline.model.hash_grid.implementation": layout})
        for layout in (saved, built)
    )
    groups = pipeline.get_param_groups()
    pipeline.load_pipeline(source.state_dict(), 3)
    torch.testing.assert_close(pipeline.state_dict(), source.state_dict(), rtol=0, atol=0)
    for name, parameters in pipeline.get_param_groups().items():
        assert [id(parameter) for parameter in parameters] == [id(parameter) for parameter in groups[name]]
    for name in ("generator", "generator_ema"):
        tables = (getattr(pipeline.model, name).field.geometry_table, getattr(source.model, name).field.geometry_table)
        assert tables[0].layout == saved
        points = torch.rand(50, 3)
        torch.testing.assert_close(tables[0](points), tables[1](points))


def test_a_checkpoint_from_before_the_shared_start_shape_opens(make_pipeline: MakePipeline) -> None:
    pipeline, other = make_pipeline(), make_pipeline()
    other.release_geometry(0.25)
    old = {
        name.replace("start_shape.geometry_release", "geometry_release"): x for name, x in other.state_dict().items()
    }
    assert set(old) != set(other.state_dict())
    pipeline.load_pipeline(old, 3)
    torch.testing.assert_close(pipeline.state_dict(), other.state_dict(), rtol=0, atol=0)
