"""The original code is called by its interface alone, so a stand-in with that interface can play it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.peer import compare
from benchmarks.peer_gof import NEEDED_FILES, PeerIteration, require_checkout
from benchmarks.training import Iteration
from benchmarks.weights import read_start, release_name, write_start
from gan3d_ns.errors import UserError
from gan3d_ns.fields.film_siren_field import FilmSirenFieldConfig, translate_gof_name

STAND_IN = {
    "curriculums.py": """
TABLE = {"model": "Field", "generator": "Generator", "discriminator": "Judge", "latent_dim": 4, "gen_lr": 1e-2,
         "disc_lr": 1e-2, "betas": (0, 0.9), "weight_decay": 0, "interval_max": 0.1, "interval_min": 0.05,
         "decay_beta": 1.0, "opacprior_lambda_init": 0.1, "opacprior_growth_rate": 1.0, "fade_steps": 10,
         "r1_lambda": 1, "pos_lambda": 1, "topk_interval": 1, "topk_v": 0.5, "normal_lambda": 1, "grad_clip": 1}
CelebA = {}
def extract_metadata(table, step):
    return dict(TABLE)
""",
    "generators/__init__.py": "",
    "generators/siren.py": """
import torch
class Field(torch.nn.Module):
    def __init__(self, latent_dim):
        super().__init__()
        self.mapping_network = torch.nn.Linear(latent_dim, 8)
        self.colour = torch.nn.Linear(8, 3)
""",
    "generators/generators.py": """
import torch
CALLS = []
class Generator(torch.nn.Module):
    def __init__(self, field, latent_dim):
        super().__init__()
        self.siren = field(latent_dim)
    def set_device(self, device):
        self.device = device
    def perform_ray_marching(self, tohalf):
        assert tohalf is False
    def forward(self, z, img_size, **settings):
        CALLS.append((torch.is_grad_enabled(), settings["interval"], settings["opacprior_lambda"]))
        self.perform_ray_marching(tohalf=True)
        code = self.siren.mapping_network(z)
        colour = self.siren.colour(code)
        pixels = img_size ** 2
        hit = torch.ones(len(z), pixels, dtype=torch.bool)
        return {"imgs": colour[:, :, None, None].expand(-1, -1, img_size, img_size), "pos": torch.zeros(len(z), 2),
                "mask": hit, "pred_normals": code[:, None, None, :3].expand(-1, pixels, 2, 3),
                "opacprior": code.square().mean()}
""",
    "discriminators/__init__.py": "",
    "discriminators/discriminators.py": """
import torch
class Judge(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 5)
    def forward(self, images, fade, **settings):
        out = self.layer(images.square().mean(dim=(2, 3)))
        return out[:, :1], out[:, 1:3], out[:, 3:]
""",
}


@pytest.fixture
def checkout(tmp_path) -> Iterator[Path]:
    """A folder that looks like the original, with networks of a few numbers."""
    for name, text in STAND_IN.items():
        path = tmp_path / "original" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    forget_original()
    yield tmp_path / "original"
    forget_original()


def forget_original() -> None:
    """Lets the next import of the original's modules find another folder's."""
    for name in list(sys.modules):
        if name.partition(".")[0] in ("curriculums", "generators", "discriminators"):
            del sys.modules[name]


def test_an_iteration_of_the_original_trains_both_networks(checkout):
    running = PeerIteration(checkout, 8, 4).prepare("cpu")
    before = [p.clone() for p in (*running.generator.parameters(), *running.discriminator.parameters())]
    average = [p.clone() for p in running.averages[0]]
    running.turn()
    after = [*running.generator.parameters(), *running.discriminator.parameters()]
    moved = [not torch.equal(old, new) for old, new in zip(before, after, strict=True)]
    assert all(moved)
    for old, new, mean in zip(average, running.generator.parameters(), running.averages[0], strict=True):
        torch.testing.assert_close(mean, old + (new - old) * 1e-3)
    assert running.facts()["hit_rate"] == 1.0


def test_an_iteration_generates_without_and_then_with_gradient(checkout):
    running = PeerIteration(checkout, 8, 4, first_step=2).prepare("cpu")
    running.turn()
    calls = sys.modules["generators.generators"].CALLS
    assert [grad for grad, _, _ in calls] == [False, True]
    # The schedules are at step 2: exp(-2) of a window of .1 lies below its end, exp(2) below the tenfold limit.
    assert calls[0][1] == pytest.approx(0.05)
    assert calls[0][2] == pytest.approx(0.1 * 2.718281828**2)


def test_a_folder_without_the_original_is_refused_in_a_sentence(tmp_path, checkout):
    with pytest.raises(UserError, match=r"no checkout of the original GOF code: curriculums\.py is missing"):
        require_checkout(tmp_path)
    (checkout / "curriculums.py").write_text("import a_package_that_is_missing\n")
    with pytest.raises(UserError, match="does not import here: No module named 'a_package_that_is_missing'"):
        PeerIteration(checkout).prepare("cpu")
    assert require_checkout(checkout) is None
    assert len(NEEDED_FILES) == 4


def test_names_of_the_release_are_translated_both_ways(tmp_path):
    names = FilmSirenFieldConfig(latent_dim=4, hidden_dim=4, num_layers=2).setup().state_dict()
    assert {translate_gof_name(release_name(name)) for name in names} == set(names)
    write_start(tmp_path / "start.pt")
    start = read_start(tmp_path / "start.pt")
    assert {translate_gof_name(name) for name in start["release"]} == set(start["field"])
    with pytest.raises(UserError, match="benchmarks distil"):
        read_start(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(UserError, match="cannot be read"):
        read_start(tmp_path / "text.pt")


def test_a_picture_counts_whatever_the_batch(checkout, request_of):
    """`faster` compares pictures: half the batch in the same time is half as fast."""
    rows = list(compare([PeerIteration(checkout, 8, 4), PeerIteration(checkout, 8, 2)], request_of(), "random"))
    ratio = rows[0]["seconds"] / rows[1]["seconds"] / 2.0
    assert rows[1]["ratio"] == pytest.approx(ratio)
    assert rows[1]["images_per_second"] == pytest.approx(2.0 / rows[1]["seconds"])
    assert "ratio" not in rows[0]


def test_the_same_weights_reach_our_field(tmp_path):
    write_start(tmp_path / "start.pt")
    iteration = Iteration("gof-gan-paper", 8, 1, steps=1, state=tmp_path / "start.pt", first_step=50_000)
    running = iteration.prepare("cpu")
    state = running.trainer.pipeline.model.generator.field.state_dict()
    for name, tensor in read_start(tmp_path / "start.pt")["field"].items():
        assert torch.equal(state[name], tensor)
    assert running.trainer.plan(running.step).window_half_width < 0.12
