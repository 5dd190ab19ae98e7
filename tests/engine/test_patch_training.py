"""Training on patches: what is shown, what it costs, and what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import METHOD, RESOLUTION, make_tiny_run, tiny_config

from gan3d_ns.engine.schedules import CurriculumStage, PatchScheduleConfig
from gan3d_ns.errors import UserError

SIZE = 8


def patch_config(tmp_path: Path, method: str = METHOD, **settings: Any) -> Any:
    patches = PatchScheduleConfig(size=SIZE, smallest_scale=0.5, first_scale=0.5)
    return tiny_config(method, tmp_path, **{"patches": patches, "pipeline.discriminator.resolution": 16, **settings})


def test_both_kinds_of_pictures_are_shown_as_patches(make_trainer: Any) -> None:
    patches = PatchScheduleConfig(size=16, smallest_scale=0.5, first_scale=0.5)
    trainer = make_trainer(**{"patches": patches, "curriculum": (CurriculumStage(0, 32, 2),)})
    seen = []
    trainer.pipeline.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    trainer.train_iteration(0)
    assert set(seen) == {(2, 3, 16, 16)}
    assert trainer.pipeline.datamanager.rays_in_step == 2 * 16**2


def test_real_patches_are_parts_of_the_pictures(make_trainer: Any) -> None:
    patches = PatchScheduleConfig(size=16, smallest_scale=0.5, first_scale=0.5)
    trainer = make_trainer(**{"patches": patches, "curriculum": (CurriculumStage(0, 32, 2),)})
    plan, pipeline = trainer.plan(0), trainer.pipeline
    assert (plan.side, plan.resolution, plan.smallest_patch) == (16, 32, 0.5)
    whole = pipeline.datamanager.real_batch(0, 2, 32, plan.seed)
    drawn = pipeline.real_batch(plan, torch.Generator().manual_seed(4))
    again = plan.draw_patches(2, torch.Generator().manual_seed(4))
    torch.testing.assert_close(drawn, again.of(whole))


def test_patches_and_their_scale_resume_exactly(tmp_path: Path) -> None:
    """Two steps are one and one more, patches included."""
    from tiny_runs import weights_of

    from gan3d_ns.scripts.runs import load_run

    settings = {
        "patches": PatchScheduleConfig(size=SIZE, interval=1, decay=0.3),
        "curriculum": (CurriculumStage(0, RESOLUTION, 2),),
        "pipeline.discriminator.resolution": RESOLUTION,
    }
    straight = make_tiny_run(METHOD, tmp_path / "straight", 2, **settings)
    first = make_tiny_run(METHOD, tmp_path / "first", 1, **settings)
    resumed = make_tiny_run(
        METHOD, tmp_path / "second", 1, **settings, load_dir=first.parent / "nerfstudio_models", timestamp="resumed"
    )
    one, other = (load_run(path)[1].model.generator for path in (straight, resumed))
    for weight, expected in zip(weights_of(one), weights_of(other), strict=True):
        torch.testing.assert_close(weight, expected, rtol=1e-6, atol=1e-7)


def test_the_smallest_scale_follows_the_published_law() -> None:
    """GRAF: a .25 smallest scale is reached at about step 185,000."""
    schedule = PatchScheduleConfig(size=32)
    assert schedule.value(0) == 0.9
    assert schedule.value(13_999) == 0.9 and schedule.value(15_000) < 0.9
    assert schedule.value(184_000) > 0.25 and schedule.value(185_000) == pytest.approx(0.25)
    assert schedule.value(10**6) == 0.25


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"curriculum": (CurriculumStage(0, 16, 2), CurriculumStage(4, 64, 2)), "size": 32}, "patches of 32 .* of 16"),
        ({"size": 16, "pipeline.discriminator.resolution": 8}, "take.* 8 .*--pipeline.discriminator.resolution 16"),
        ({"size": 16, "method": "gof-gan-paper"}, "ProgressiveDiscriminator grows"),
    ],
)
def test_impossible_patches_are_refused(settings: dict[str, Any], named: str, tmp_path: Path) -> None:
    size, method = settings.pop("size"), settings.pop("method", METHOD)
    config = tiny_config(method, tmp_path, **{"patches": PatchScheduleConfig(size=size), **settings})
    with pytest.raises(UserError, match=named) as refusal:
        config.setup(local_rank=0, world_size=1)
    assert str(refusal.value).count(". ") == 0


@pytest.mark.parametrize("settings", [{"size": 4}, {"smallest_scale": 0.0}, {"interval": 0}])
def test_impossible_schedules_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="patches"):
        PatchScheduleConfig(**settings)
