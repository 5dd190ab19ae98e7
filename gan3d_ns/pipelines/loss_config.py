"""What two opponents minimise."""

from dataclasses import dataclass
from typing import Literal

from gan3d_ns.errors import UserError


@dataclass
class GanLossConfig:
    """The adversarial loss, its penalties, and what keeps surfaces sharp and smooth."""

    adversarial: Literal["non-saturating", "relativistic"] = "non-saturating"
    """non-saturating: as GOF. relativistic: scores of real and generated pictures are compared in pairs (R3GAN)."""
    r1_weight: float = 1.0
    """Weight of the gradient penalty on real pictures; raise it when training oscillates."""
    r2_weight: float = 0.0
    """Weight of the same penalty on generated pictures; the relativistic loss wants it."""
    penalty_interval: int = 1
    """Steps between penalties, whose weights are multiplied by it (lazy regularisation)."""
    pose_weight: float = 15.0
    """Weight of the discriminator's pose estimate in both phases: it ties pictures to their cameras."""
    normal_weight: float = 0.05
    """Weight of the smoothness of surface normals; 0 saves their cost."""
    normal_distance: float = 0.01
    """Distance of the neighbour whose normal is compared, in world units."""
    coverage_weight: float = 0.0
    """Weight of the transparency of the picture, mean(1 - accumulation): for photographs, which show something in every
    pixel; it closes holes. 0 for objects on a plain background."""
    normal_ray_fraction: float = 1.0
    """Fraction of the rays whose normals are compared; fewer are cheaper."""
    style_mixing: float = 0.0
    """Probability that a neural renderer's last layers take the code of another latent, so that texture and structure
    become independent (StyleGAN; VolumeGAN: .9)."""
    path_length_weight: float = 0.0
    """Weight of the path-length penalty, which makes equal steps of a code change pictures equally (StyleGAN2;
    VolumeGAN: 2). It is part of the generator's step; published is a step of its own. 0 saves its cost."""
    path_length_interval: int = 4
    """Steps between path-length penalties, whose weights are multiplied by it."""

    def __post_init__(self) -> None:
        for name in ("penalty_interval", "path_length_interval"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; set it to 1 (every step) or more.")
        if not 0.0 < self.normal_ray_fraction <= 1.0:
            raise UserError(f"normal_ray_fraction is {self.normal_ray_fraction}; it must lie in (0, 1].")
        if not 0.0 <= self.style_mixing <= 1.0:
            raise UserError(f"style_mixing is {self.style_mixing}; it is a probability and must lie in [0, 1].")
