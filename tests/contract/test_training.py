"""Every registered method trains, saves what it needs, and resumes as if it had never stopped."""

from __future__ import annotations

import copy
from typing import Any

import torch
from recorded_training import TrainedRun, train

EARLY, LAST = 2, 4
"""Checkpoints are named after the last step, counted from 0."""


def part(state: dict[str, Any], prefix: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state["pipeline"].items() if name.startswith(prefix)}


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> list[str]:
    return [name for name in before if not torch.equal(before[name], after[name])]


def test_losses_are_finite(trained: TrainedRun) -> None:
    assert sorted(trained.losses) == [0, 1, 2, 3, 4]
    for step, terms in trained.losses.items():
        assert {"d_adversarial", "g_adversarial"} <= terms.keys()
        assert all(torch.isfinite(term) for term in terms.values()), (step, terms)


def test_generator_average_and_discriminator_move(trained: TrainedRun) -> None:
    before, after = trained.checkpoint(EARLY), trained.checkpoint(LAST)
    for prefix in ("_model.generator.", "_model.generator_ema."):
        weights = {name for name, _ in trained.trainer.pipeline.named_parameters() if name.startswith(prefix)}
        still = weights - set(moved(part(before, prefix), part(after, prefix)))
        assert not still, f"weights that no loss reaches: {sorted(still)}"
    assert moved(part(before, "discriminator."), part(after, "discriminator."))


def test_the_average_follows_and_is_not_a_copy(trained: TrainedRun) -> None:
    state = trained.checkpoint(LAST)
    model = trained.trainer.pipeline.model
    names = [name for name, parameter in model.generator.named_parameters() if parameter.requires_grad]
    current = [state["pipeline"][f"_model.generator.{name}"] for name in names]
    average = [state["pipeline"][f"_model.generator_ema.{name}"] for name in names]
    assert any(not torch.equal(one, other) for one, other in zip(current, average, strict=True))
    assert not any(parameter.requires_grad for parameter in model.generator_ema.parameters())


def test_the_checkpoint_holds_all_that_training_needs(trained: TrainedRun) -> None:
    state = trained.checkpoint(LAST)
    assert state["step"] == LAST
    assert set(state["optimizers"]) == set(trained.trainer.pipeline.get_param_groups())
    for name, optimizer in state["optimizers"].items():
        assert optimizer["state"], f"the moments of {name} are missing"
    assert {name.partition(".")[0] for name in state["pipeline"]} - {"path_length"} == {"_model", "discriminator"}
    assert part(state, "_model.generator.") and part(state, "_model.generator_ema.")


def test_resuming_equals_never_having_stopped(trained: TrainedRun) -> None:
    config = copy.deepcopy(trained.config)
    config.timestamp, config.max_num_iterations = "resumed", 2
    config.load_dir, config.load_step = trained.config.get_checkpoint_dir(), EARLY
    resumed = train(config)
    assert resumed.folder != trained.folder
    assert sorted(resumed.losses) == [3, 4]
    for step, terms in resumed.losses.items():
        torch.testing.assert_close(terms, trained.losses[step], rtol=1e-6, atol=1e-6)
    expected, found = trained.checkpoint(LAST), resumed.checkpoint(LAST)
    torch.testing.assert_close(found["pipeline"], expected["pipeline"], rtol=1e-6, atol=1e-6)
    for name, optimizer in expected["optimizers"].items():
        torch.testing.assert_close(found["optimizers"][name]["state"], optimizer["state"], rtol=1e-6, atol=1e-6)
