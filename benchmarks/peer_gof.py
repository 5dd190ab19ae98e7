"""One D+G iteration of the original GOF code, from a checkout that the user supplies; nothing of it is kept here.

Generator, discriminator and curriculum are the checkout's own classes and tables, called by their public interface.
What is done around them is what its training script does in an iteration: latents, pictures without gradient, R1 on
the real ones, both pose losses, clipped Adam steps, normals and opacity prior, top-k, two moving averages.

What differs from running that script, each in the original's favour:

- no distributed wrapper, no loading of pictures (random ones lie ready in memory), no logging;
- the moving averages, there of the package torch_ema, are updated here by one operation for each parameter;
- on a CPU half precision is off. The checkout asks its root search for half precision values whatever the networks
  compute in, which fails in full precision: its method `perform_ray_marching` is called with `tohalf=False` there;
- the checkout is imported as it is; only modules that an iteration does not need (pictures, metrics, logging) are not.

Both sides start from the same weights of the field, so that as many rays meet a surface.
"""

from __future__ import annotations

import importlib
import math
import statistics
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.turns import Contender, Running
from benchmarks.weights import read_start
from gan3d_ns.errors import UserError

NEEDED_FILES = (
    "curriculums.py",
    "generators/generators.py",
    "generators/siren.py",
    "discriminators/discriminators.py",
)
EMA_DECAYS = (0.999, 0.9999)
MAPPING_RATE_FACTOR = 0.05


@dataclass(frozen=True)
class PeerIteration(Contender):
    """Steps of the original code on random pictures."""

    checkout: Path
    """Folder of the original repository."""
    resolution: int = 32
    """Side of the pictures."""
    batch_size: int = 16
    """Pictures in a step."""
    steps: int = 1
    """Steps in a turn."""
    curriculum: str = "CelebA"
    """Which of the checkout's tables gives sample counts, losses and cameras."""
    state: Path | None = None
    """Weights of the generator in place of random ones (a file of `benchmarks.weights`)."""
    first_step: int = 0
    """Training step of the first turn, which fixes window, weights of the priors and fade."""

    @property
    def name(self) -> str:
        return "original GOF"

    @property
    def units(self) -> float:
        return self.steps

    def prepare(self, device: str) -> Running:
        return _RunningPeer(self, device)


def require_checkout(checkout: Path) -> None:
    """Looks whether a folder is a checkout of the original code.

    Raises:
        UserError: it is not; names what is missing.
    """
    missing = [name for name in NEEDED_FILES if not (checkout / name).is_file()]
    if missing:
        raise UserError(
            f"{checkout} is no checkout of the original GOF code: {missing[0]} is missing; give --peer-gof the folder "
            "that holds its train.py."
        )


def import_checkout(checkout: Path) -> tuple[Any, Any, Any, Any]:
    """The checkout's modules: curricula, generators, fields, discriminators.

    Raises:
        UserError: the folder is no checkout, or does not import here.
    """
    require_checkout(checkout)
    sys.path.insert(0, str(checkout.resolve()))
    try:
        names = ("curriculums", "generators.generators", "generators.siren", "discriminators.discriminators")
        curricula, generators, fields, discriminators = (importlib.import_module(name) for name in names)
    except ImportError as error:
        raise UserError(f"the original GOF code in {checkout} does not import here: {error}.") from error
    finally:
        sys.path.remove(str(checkout.resolve()))
    return curricula, generators, fields, discriminators


class _RunningPeer:
    """The original's networks and optimizers, and one iteration of them at a time."""

    def __init__(self, peer: PeerIteration, device: str) -> None:
        import torch

        warnings.filterwarnings("ignore", module="torch")
        self.peer, self.device, self.step = peer, torch.device(device), peer.first_step
        curricula, generators, fields, discriminators = import_checkout(peer.checkout)
        torch.manual_seed(0)
        table = getattr(curricula, peer.curriculum, None)
        if table is None:
            raise UserError(f"the checkout {peer.checkout} has no curriculum {peer.curriculum}.")
        self.settings = {**curricula.extract_metadata(table, 0), "img_size": peer.resolution}
        field_class = getattr(fields, self.settings["model"])
        self.generator = getattr(generators, self.settings["generator"])(field_class, self.settings["latent_dim"])
        self.discriminator = getattr(discriminators, self.settings["discriminator"])()
        if peer.state is not None:
            self.generator.load_state_dict(read_start(peer.state)["release"])
        if device == "cpu":
            search = self.generator.perform_ray_marching
            self.generator.perform_ray_marching = lambda *given, **named: search(*given, **{**named, "tohalf": False})
        self.generator.to(self.device).set_device(self.device)
        self.discriminator.to(self.device)
        self.averages = [[p.detach().clone() for p in self.generator.parameters()] for _ in EMA_DECAYS]
        # The tables give a whole number among the betas, which today's PyTorch refuses.
        betas = tuple(float(beta) for beta in self.settings["betas"])
        adam = {"betas": betas, "weight_decay": self.settings["weight_decay"]}
        rate = self.settings["gen_lr"]
        mapping = list(self.generator.siren.mapping_network.parameters())
        known = {id(parameter) for parameter in mapping}
        others = [parameter for parameter in self.generator.parameters() if id(parameter) not in known]
        groups = [{"params": others}, {"params": mapping, "lr": rate * MAPPING_RATE_FACTOR}]
        self.optimizer_g = torch.optim.Adam(groups, lr=rate, **adam)
        self.optimizer_d = torch.optim.Adam(self.discriminator.parameters(), lr=self.settings["disc_lr"], **adam)
        self.scaler = torch.amp.GradScaler(enabled=device == "cuda")  # pyright: ignore[reportPrivateImportUsage]
        self.real = torch.rand(peer.batch_size, 3, peer.resolution, peer.resolution, device=self.device) * 2 - 1
        self.hit_rates: list[float] = []

    def turn(self) -> None:
        self.generator.train()
        self.discriminator.train()
        for _ in range(self.peer.steps):
            self.iterate()
            self.step += 1

    def facts(self) -> dict[str, Any]:
        return {
            "resolution": self.peer.resolution,
            "batch": self.peer.batch_size,
            "hit_rate": statistics.mean(self.hit_rates),
            "parameters": sum(parameter.numel() for parameter in self.generator.parameters()),
        }

    def scheduled(self) -> dict[str, Any]:
        """The checkout's settings with what depends on the step."""
        settings = dict(self.settings, nerf_noise=max(0.0, 1.0 - self.step / 5000.0))
        width = settings["interval_max"] * math.exp(-settings["decay_beta"] * self.step)
        settings["interval"] = max(settings["interval_min"], width)
        start = settings["opacprior_lambda_init"]
        growth = math.exp(settings["opacprior_growth_rate"] * self.step)
        settings["opacprior_lambda"] = min(10 * start, start * growth)
        return settings

    def iterate(self) -> None:
        """Discriminator phase, generator phase, moving averages."""
        import torch
        from torch.nn.functional import mse_loss, softplus

        settings, scaler, batch = self.scheduled(), self.scaler, self.peer.batch_size
        fade = min(1.0, self.step / settings["fade_steps"])

        def half() -> torch.autocast:
            return torch.autocast(self.device.type, enabled=scaler.is_enabled())

        # Discriminator
        with half():
            with torch.no_grad():
                fakes = self.generator(self.latents(), **settings)
            real = self.real.detach().clone().requires_grad_(True)
            score_real = self.discriminator(real, fade, **settings)[0]
        (slope,) = torch.autograd.grad(scaler.scale(score_real.sum()), real, create_graph=True)
        slope = slope / scaler.get_scale()
        with half():
            penalty = 0.5 * settings["r1_lambda"] * slope.flatten(1).norm(dim=1).square().mean()
            score_fake, _, pose = self.discriminator(fakes["imgs"], fade, **settings)
            loss = softplus(score_fake).mean() + softplus(-score_real).mean() + penalty
            loss = loss + settings["pos_lambda"] * mse_loss(pose, fakes["pos"])
        loss.item()
        self.optimizer_d.zero_grad()
        scaler.scale(loss).backward()
        self.descend(self.optimizer_d, self.discriminator)

        # Generator
        with half():
            fakes = self.generator(self.latents(), **settings)
            score, _, pose = self.discriminator(fakes["imgs"], fade, **settings)
            fraction = max(0.99 ** (self.step / settings["topk_interval"]), settings["topk_v"])
            score = score.topk(math.ceil(fraction * batch), dim=0).values
            loss = softplus(-score).mean() + settings["pos_lambda"] * mse_loss(pose, fakes["pos"])
            hit = fakes["mask"]
            if hit.any():
                # The script compares these entries, of the last dimension, whatever it means by them.
                first, second = fakes["pred_normals"][..., 0][hit], fakes["pred_normals"][..., 1][hit]
                loss = loss + settings["normal_lambda"] * mse_loss(first, second)
            loss = loss + settings["opacprior_lambda"] * fakes["opacprior"]
        loss.item()
        scaler.scale(loss).backward()
        self.descend(self.optimizer_g, self.generator)
        self.optimizer_g.zero_grad()
        scaler.update()
        with torch.no_grad():
            for decay, average in zip(EMA_DECAYS, self.averages, strict=True):
                for mean, parameter in zip(average, self.generator.parameters(), strict=True):
                    mean.lerp_(parameter, 1.0 - decay)
        self.hit_rates.append(float(hit.float().mean()))

    def latents(self) -> Any:
        import torch

        return torch.randn(self.peer.batch_size, self.settings["latent_dim"], device=self.device)

    def descend(self, optimizer: Any, network: Any) -> None:
        """A clipped step of Adam."""
        import torch

        self.scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(network.parameters(), self.settings["grad_clip"])
        self.scaler.step(optimizer)
