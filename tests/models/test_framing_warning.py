"""A model whose cameras miss its object says so where it is built: at the start of a training and when a run opens."""

from __future__ import annotations

import pytest
import torch
from nerfstudio.data.scene_box import SceneBox

from gan3d_ns.cameras.pose_prior import PosePriorConfig
from gan3d_ns.fields.film_siren_field import FilmSirenFieldConfig
from gan3d_ns.models.gan_model import GanModelConfig


def build(pose_prior: PosePriorConfig, box_side: float = 0.24) -> None:
    sizes = FilmSirenFieldConfig(latent_dim=4, hidden_dim=4, num_layers=1, box_side=box_side)
    config = GanModelConfig(field="film-siren", film_siren=sizes, pose_prior=pose_prior)
    config.setup(scene_box=SceneBox(aabb=torch.tensor([[-0.12] * 3, [0.12] * 3])), num_train_data=1)


@pytest.mark.parametrize(
    ("pose_prior", "box_side", "words"),
    [
        (PosePriorConfig(radius=2.0), 0.24, "Warning: near 0.88 and far 1.12 end before the object's centre"),
        (PosePriorConfig(), 1.2, "Warning: near 0.88 and far 1.12 enclose only 20% of the object"),
        (PosePriorConfig(fov_deg=2.0), 0.24, "Warning: the frame of 2 degrees is 0.0349 wide"),
    ],
)
def test_it_warns_once_in_a_line(pose_prior: PosePriorConfig, box_side: float, words: str, capsys) -> None:
    build(pose_prior, box_side)
    printed = capsys.readouterr().out
    assert printed.count("Warning:") == 1
    assert any(line.startswith(words) and line.endswith(".") for line in printed.splitlines())


def test_it_is_silent_where_cameras_and_object_fit(capsys) -> None:
    build(PosePriorConfig())
    assert "Warning" not in capsys.readouterr().out
