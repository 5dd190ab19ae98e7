"""The adversarial phases inside nerfstudio's Trainer, schedules and weight averaging."""
