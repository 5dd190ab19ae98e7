"""One flag reads the same field as an occupancy, sampled around its surface, or as a density, sampled everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import METHOD, tiny_config

from gan3d_ns.model_components.ray_samplers import SurfaceWindowSampler, VolumeSampler


def trainer_of(folder: Path, **settings: Any) -> Any:
    torch.manual_seed(0)
    config = tiny_config(METHOD, folder, **settings)
    config.pipeline.datamanager.data = config.data
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    return trainer


@pytest.mark.parametrize("field", ["tri-plane", "hash", "film-siren", "nerf"])
def test_the_flag_changes_the_reading_and_not_the_field(field: str, tmp_path: Path) -> None:
    settings = {"pipeline.model.field": field}
    generators, terms = [], []
    for geometry in ("occupancy", "density"):
        trainer = trainer_of(tmp_path / geometry, **settings, **{"pipeline.model.geometry": geometry})
        generators.append(trainer.pipeline.model.generator)
        before = {name: weight.clone() for name, weight in generators[-1].field.state_dict().items()}
        terms.append(trainer.train_iteration(0)[1])
        generators[-1].field.load_state_dict(before)
    occupancy, density = generators
    assert isinstance(occupancy.sampler, SurfaceWindowSampler) and occupancy.geometry.kind == "occupancy"
    assert isinstance(density.sampler, VolumeSampler) and density.geometry.kind == "density"
    torch.testing.assert_close(density.field.state_dict(), occupancy.field.state_dict())
    assert "g_opacity" in terms[0] and "g_opacity" not in terms[1]
    assert all(torch.isfinite(term) for term in terms[1].values())


def test_another_background_is_for_what_is_shown_alone(tmp_path: Path) -> None:
    model = trainer_of(tmp_path, **{"pipeline.model.eval_background": "last-sample"}).pipeline.model
    assert model.generator.background == "black"
    assert model.shown_generator.background == "last-sample"
    plain = trainer_of(tmp_path / "plain").pipeline.model
    assert plain.shown_generator.background == plain.generator.background == "black"
