"""First crossings and root finding, against laws and the original's numbers on a sphere."""

from __future__ import annotations

import math

import pytest
import torch

from gan3d_ns.model_components.surface import first_crossing, refine_root


@pytest.mark.parametrize("case", ["a", "b", "c"])
@pytest.mark.parametrize("method", ["secant4", "secant8", "secant16", "bisection4"])
def test_roots_match_the_original_on_a_sphere(case: str, method: str, load_fixture) -> None:
    fixture = load_fixture("gof_rootfinding_sphere")
    radius = 0.13 if case == "c" else 0.1
    near, far = (0.8, 1.2) if case == "b" else (0.88, 1.12)
    yaw, pitch = (math.pi / 2, math.pi / 2) if case == "a" else (1.920796, 1.370796)
    origin = torch.tensor(
        [math.sin(pitch) * math.cos(yaw), math.cos(pitch), math.sin(pitch) * math.sin(yaw)], dtype=torch.float32
    )
    directions = camera_rays(origin)
    coarse = torch.linspace(near, far, 9).expand(256, -1)

    def value_at(distances: torch.Tensor) -> torch.Tensor:
        return 20.0 * (radius - (origin + distances[:, None] * directions).norm(dim=-1))

    brackets = first_crossing(fixture[f"{case}_logit"], coarse)
    assert torch.equal(brackets.hit, fixture[f"{case}_mask"] > 0.5)
    name = "bisection" if method.startswith("b") else "secant"
    root = refine_root(value_at, brackets, int(method.removeprefix(name)), name)
    root = torch.where(brackets.hit, root, torch.ones_like(root))
    torch.testing.assert_close(root, fixture[f"{case}_{method}"], atol=1e-4, rtol=1e-4)


def camera_rays(origin: torch.Tensor, side: int = 16, fov_deg: float = 12.0) -> torch.Tensor:
    """Unit directions of a square camera at ``origin`` that looks at the centre, written out on its own."""
    backward = origin / origin.norm()
    right = torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]), backward)
    right = right / right.norm()
    up = torch.linalg.cross(backward, right)
    grid = torch.linspace(-1.0, 1.0, side)
    y, x = torch.meshgrid(-grid, grid, indexing="ij")
    depth = 1.0 / math.tan(math.radians(fov_deg) / 2)
    directions = x[..., None] * right + y[..., None] * up - depth * backward
    return torch.nn.functional.normalize(directions.reshape(-1, 3), dim=-1)
