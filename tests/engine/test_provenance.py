"""What is made in the middle of a training says where it comes from."""

from __future__ import annotations

from typing import Any


def test_an_object_taken_during_training_knows_its_step(make_trainer: Any) -> None:
    trainer = make_trainer()
    model = trainer.pipeline.model
    for step in (0, 1):
        trainer.train_iteration(step)
        assert model.provenance(model.selection())["step"] == str(step)
        assert model.still_copy().provenance(model.selection())["step"] == str(step)
