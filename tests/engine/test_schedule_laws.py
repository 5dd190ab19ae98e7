"""What holds for every schedule: it goes one way, between its ends, and never overflows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from random_values import magnitudes, numbers

from gan3d_ns.engine.schedules import (
    CurriculumStage,
    DensityNoiseConfig,
    OpacityWeightConfig,
    PatchScheduleConfig,
    TopKConfig,
    WindowScheduleConfig,
    fade_at,
    stage_at,
    validate_stages,
)

step = magnitudes(1.0, 1e12).map(round)
steps = st.tuples(step | st.just(0), step).map(sorted)
positive = magnitudes(1e-6, 1e6)


@given(positive, numbers(1e-6, 1.0), magnitudes(1e-9, 1e3), steps)
def test_windows_shrink_to_their_end(start, share, decay, step):
    window = WindowScheduleConfig(start, share * start, decay)
    earlier, later = (window.value(each) for each in step)
    assert start >= earlier >= later >= share * start
    assert window.value(0) == start


@given(numbers(0.0, 1e6), magnitudes(1e-9, 1e3), magnitudes(1.0, 1e300), steps)
def test_opacity_weights_grow_to_their_limit(start, growth, limit, step):
    weight = OpacityWeightConfig(start, growth, limit)
    earlier, later = (weight.value(each) for each in step)
    assert start <= earlier <= later <= start * limit * (1 + 1e-9)
    assert weight.value(0) == start


@given(magnitudes(1e-300, 1.0), positive, numbers(1e-6, 1.0), steps)
def test_kept_fractions_fall_to_their_floor(base, interval, floor, step):
    kept = TopKConfig(True, base, interval, floor)
    earlier, later = (kept.value(each) for each in step)
    assert 1.0 >= earlier >= later >= floor
    assert kept.value(0) == 1.0


@given(positive, st.integers(0, 10**9), st.sampled_from(("linear", "none")), steps)
def test_noise_falls_to_nothing(start, length, decay, step):
    noise = DensityNoiseConfig(start, length, decay)
    earlier, later = (noise.value(each) for each in step)
    assert start >= earlier >= later >= 0.0
    assert noise.value(length) == 0.0


@given(numbers(0.01, 1.0), numbers(0.01, 1.0), magnitudes(1e-6, 10.0), st.integers(1, 10**6), steps)
def test_patches_shrink_between_their_scales(smallest, first, decay, interval, step):
    patches = PatchScheduleConfig(16, smallest, first, decay, interval)
    earlier, later = (patches.value(each) for each in step)
    assert first >= earlier >= later >= min(first, smallest)


@st.composite
def curricula(draw: st.DrawFn) -> list[CurriculumStage]:
    starts = [0, *sorted(draw(st.sets(st.integers(1, 1000), max_size=4)))]
    return [CurriculumStage(start, 2 ** draw(st.integers(3, 9)), draw(st.integers(1, 64))) for start in starts]


@given(curricula(), steps, st.integers(0, 500))
def test_stages_take_turns_and_fade_in(stages, step, length):
    validate_stages(stages)
    earlier, later = (stages.index(stage_at(stages, each)) for each in step)
    assert earlier <= later, "no stage comes back"
    for index, stage in enumerate(stages):
        assert stage_at(stages, stage.start_step) is stage
        assert index == 0 or stage_at(stages, stage.start_step - 1) is stages[index - 1]
        if index > 0 and stage.resolution != stages[index - 1].resolution:
            assert fade_at(stages, stage.start_step, length) == (0.0 if length else 1.0)
    fades = [fade_at(stages, each, length) for each in step]
    assert all(0.0 <= fade <= 1.0 for fade in fades)
    if earlier == later:
        assert fades[0] <= fades[1]
    assert fade_at(stages, stages[-1].start_step + length, length) == 1.0
