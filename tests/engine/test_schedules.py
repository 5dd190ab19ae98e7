import io

import pytest
import torch
import tyro
import yaml
from nerfstudio.engine.schedulers import ExponentialDecaySchedulerConfig

from gan3d_ns.engine.schedules import (
    CurriculumStage,
    DensityNoiseConfig,
    FloatExponentialDecayConfig,
    OpacityWeightConfig,
    TopKConfig,
    WindowScheduleConfig,
    fade_alpha,
    fade_at,
    stage_at,
    validate_stages,
)
from gan3d_ns.errors import UserError

# GOF's published settings (released code, curriculums.py): window, opacity weight, stages (start, resolution, batch).
PUBLISHED = {
    "bfm": (
        WindowScheduleConfig(0.12, 0.02, 3e-5),
        OpacityWeightConfig(0.1, 4e-5),
        ((0, 32, 16), (10_000, 64, 8), (60_000, 128, 4)),
    ),
    "celeba": (
        WindowScheduleConfig(0.12, 0.03, 1e-5),
        OpacityWeightConfig(0.05, 0.5e-5),
        ((0, 32, 16), (20_000, 64, 8), (160_000, 128, 4)),
    ),
    "cats": (
        WindowScheduleConfig(0.2, 0.1, 2e-5),
        OpacityWeightConfig(0.05, 1e-5),
        ((0, 32, 16), (5_000, 64, 8), (30_000, 128, 4)),
    ),
}
CATS_END = 40_000


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_schedules_match_the_original(load_fixture, name):
    reference = load_fixture("gof_schedules")
    window, opacity, table = PUBLISHED[name]
    stages = [CurriculumStage(start, resolution, batch) for start, resolution, batch in table]
    validate_stages(stages)
    for index, step in enumerate(int(step) for step in reference["iteration"]):
        stage = stage_at(stages, step)
        ours = {
            "delta": window.value(step),
            "opacity_lambda": opacity.value(step),
            "topk_fraction": TopKConfig().value(step),
            "resolution": stage.resolution,
            "batch": stage.batch_size,
            # The original's curriculum for cats ends at 40,000; its fade was recorded at 39,999 from there on.
            "alpha": fade_at(stages, min(step, CATS_END - 1) if name == "cats" else step, 10_000),
        }
        for quantity, value in ours.items():
            assert value == pytest.approx(reference[f"{name}_{quantity}"][index].item(), rel=1e-5, abs=1e-7), quantity
        assert DensityNoiseConfig().value(step) == pytest.approx(reference["density_noise_std"][index].item())


def test_density_noise_may_stay_until_it_ends() -> None:
    """CAMPARI's: one standard deviation for 10,000 steps, then none."""
    noise = DensityNoiseConfig(start=2.0, length=10, decay="none")
    assert [noise.value(step) for step in (0, 9, 10, 50)] == [2.0, 2.0, 0.0, 0.0]
    assert DensityNoiseConfig(length=0, decay="none").value(0) == 0.0


def test_switched_off():
    assert TopKConfig(enabled=False).value(10**6) == 1.0
    assert OpacityWeightConfig(start=0.0).value(10**6) == 0.0
    assert DensityNoiseConfig(length=0).value(0) == 0.0


@pytest.mark.parametrize(
    ("step", "length", "alpha"),
    [(5, 10, 0.0), (10, 10, 0.0), (15, 10, 0.5), (20, 10, 1.0), (90, 10, 1.0), (10, 0, 1.0)],
)
def test_fade_runs_from_zero_to_one(step, length, alpha):
    assert fade_alpha(step, 10, length) == alpha


def test_a_stage_of_the_same_resolution_does_not_fade_again():
    stages = [CurriculumStage(0, 32), CurriculumStage(100, 64), CurriculumStage(150, 64, 4)]
    assert fade_at(stages, 160, 100) == 0.6
    assert fade_at(stages, 99, 100) == 0.99


def test_the_last_stage_holds_for_ever():
    stages = [CurriculumStage(0, 32), CurriculumStage(100, 64)]
    resolutions = [stage_at(stages, step).resolution for step in (0, 99, 100, 101, 10**12)]
    assert resolutions == [32, 32, 64, 64, 64]


@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        ((), "no stages"),
        ((CurriculumStage(5),), "starts at step 5; let it start at 0"),
        ((CurriculumStage(0), CurriculumStage(9), CurriculumStage(9)), "sort the stages"),
        ((CurriculumStage(0, 48),), "stage 1 has the resolution 48"),
        ((CurriculumStage(0), CurriculumStage(5, 4)), "stage 2 has the resolution 4"),
        ((CurriculumStage(0, 32, 8, batch_split=3),), "splits 8 images into 3 parts"),
        ((CurriculumStage(0, 32, 0),), "splits 0 images"),
        ((CurriculumStage(0, lr_generator=0.0),), "lr_generator 0.0"),
        ((CurriculumStage(0, num_samples=2),), "2 samples on a ray"),
    ],
)
def test_impossible_curricula_are_refused(stages, sentence):
    with pytest.raises(UserError, match=sentence):
        validate_stages(stages)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (WindowScheduleConfig, {"start": 0.01, "end": 0.02}),
        (WindowScheduleConfig, {"end": 0.0}),
        (WindowScheduleConfig, {"decay": -1e-5}),
        (OpacityWeightConfig, {"limit_factor": 0.5}),
        (OpacityWeightConfig, {"growth": -1e-5}),
        (TopKConfig, {"floor": 0.0}),
        (TopKConfig, {"interval": 0.0}),
    ],
)
def test_impossible_schedules_are_refused(kind, changes):
    with pytest.raises(UserError, match=str(next(iter(changes.values())))):
        kind(**changes)


def test_configs_survive_the_command_line_and_a_saved_config():
    config = tyro.cli(WindowScheduleConfig, args=["--end", "0.03"])
    stored = yaml.dump([config, TopKConfig(), CurriculumStage(0, 64)])
    assert yaml.load(stored, Loader=yaml.Loader) == [
        WindowScheduleConfig(end=0.03),
        TopKConfig(),
        CurriculumStage(0, 64),
    ]


def run_scheduler(config, steps, lr=1e-3):
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))], lr=lr)
    scheduler = config.setup().get_scheduler(optimizer, lr)
    rates = []
    for _ in range(steps):
        optimizer.param_groups[0]["params"][0].grad = torch.ones(2)
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return optimizer, scheduler, rates


@pytest.mark.parametrize("ramp", ["linear", "cosine"])
@pytest.mark.parametrize("lr_final", [None, 1e-5])
def test_learning_rates_are_those_of_nerfstudio(ramp, lr_final):
    settings = {"lr_final": lr_final, "warmup_steps": 10, "max_steps": 50, "ramp": ramp}
    _, _, ours = run_scheduler(FloatExponentialDecayConfig(**settings), 60)
    _, _, theirs = run_scheduler(ExponentialDecaySchedulerConfig(**settings), 60)
    assert ours == pytest.approx([float(rate) for rate in theirs])


def test_checkpoint_is_accepted_by_a_safe_load_and_continues():
    config = FloatExponentialDecayConfig(lr_final=1e-5, warmup_steps=3, max_steps=30)
    optimizer, scheduler, _ = run_scheduler(config, 10)
    assert type(optimizer.param_groups[0]["lr"]) is float
    stored = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, stored)
    stored.seek(0)
    loaded = torch.load(stored, weights_only=True)
    resumed, continued, _ = run_scheduler(config, 0)
    resumed.load_state_dict(loaded["optimizer"])
    continued.load_state_dict(loaded["scheduler"])
    for each_optimizer, each_scheduler in ((optimizer, scheduler), (resumed, continued)):
        each_optimizer.step()
        each_scheduler.step()
    assert resumed.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [({"max_steps": 5, "warmup_steps": 5}, "max_steps is 5"), ({"lr_final": 0.0}, "lr_final is 0.0")],
)
def test_impossible_decays_are_refused(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        FloatExponentialDecayConfig(**changes).setup()
