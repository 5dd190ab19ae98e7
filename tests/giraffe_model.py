"""A small untrained model with scenes of four objects, as balls before a background."""

from __future__ import annotations

import copy

import torch
from nerfstudio.data.scene_box import SceneBox

from gan3d_ns.method_configs.giraffe import giraffe_tiny
from gan3d_ns.model_components.neural_renderers import NeuralRendererConfig
from gan3d_ns.models.gan_model import GanModel


def giraffe_model() -> GanModel:
    torch.manual_seed(0)
    settings = copy.deepcopy(giraffe_tiny.config)
    settings.preset = "scenes"
    settings.resolve_preset()
    box = SceneBox(torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))
    return settings.pipeline.model.setup(scene_box=box, num_train_data=1).eval()


def model_of_one_object() -> GanModel:
    """A model of the same size whose field has no scenes."""
    settings = copy.deepcopy(giraffe_tiny.config.pipeline.model)
    settings.field, settings.neural_renderer, settings.method_name = "nerf", NeuralRendererConfig(), "other"
    settings.nerf.hidden_dim = 8
    box = SceneBox(torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))
    return settings.setup(scene_box=box, num_train_data=1).eval()
