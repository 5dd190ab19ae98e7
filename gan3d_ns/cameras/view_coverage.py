"""Which part of space the cameras of a pose prior see, and from where they look at a surface."""

from __future__ import annotations

import itertools
import math
from typing import Union

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from gan3d_ns.cameras.pose_prior import PosePrior

NUM_CAMERAS = 64
SEEN_BY_FRACTION = 0.25
"""A place counts as seen where this fraction of the cameras has it in its frustum: fewer never shaped it."""
BORDER_SOFTNESS = 0.005
"""World units over which a camera's frustum fades out: it rounds the corners that many frusta cut into the border."""
FACING_SHARPNESS = 8.0
"""How strongly a surface is looked at by the cameras in front of it rather than by all of them."""
BOUNDS_STEPS = 32


def mirrored_poses(prior: PosePrior, num: int, device: Union[torch.device, str] = "cpu") -> Float[Tensor, "num 2"]:
    """The same poses of a prior in every call: an even number, half of them drawn with a fixed seed.

    The others mirror them, as every prior is symmetric in yaw: objects are then cut and coloured alike on both sides.
    """
    poses = prior.sample(num // 2, torch.Generator().manual_seed(0), device)
    mirrored = torch.stack((poses[:, 0], 2.0 * prior.mean_pose(device)[1] - poses[:, 1]), dim=-1)
    return torch.cat((poses, mirrored))


class ViewCoverage:
    """A fixed sample of a prior's cameras.

    A field is free to answer anything where no training picture looked: beyond near and far, beside the frame, behind
    the object. This says what was looked at.

    Args:
        prior: where the cameras stand.
        num_cameras: how many are drawn, with a fixed seed; an even number.
        device: where the results live.
    """

    def __init__(
        self, prior: PosePrior, num_cameras: int = NUM_CAMERAS, device: Union[torch.device, str] = "cpu"
    ) -> None:
        self.config = prior.config
        matrices = prior.camera_to_world(mirrored_poses(prior, num_cameras, device))
        self.rotations: Float[Tensor, "camera 3 3"] = matrices[:, :, :3]
        self.positions: Float[Tensor, "camera 3"] = matrices[:, :, 3]

    def margin(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
        """How far inside the seen region points lie, in world units; negative outside.

        For camera i, m_i is the smallest of t - near, far - t and the distance to the frame's border at the point's
        depth. The fraction of cameras that see a point is the mean of sigmoid(m_i / softness); the margin is softness
        times its log odds over those of `SEEN_BY_FRACTION`, for one camera m_i and a constant.
        """
        config = self.config
        local = torch.einsum("cji,cpj->cpi", self.rotations, points[None] - self.positions[:, None])
        distance = local.norm(dim=-1)
        frame = math.tan(math.radians(config.fov_deg) / 2.0) * -local[..., 2]
        lateral = frame - local[..., :2].abs().amax(dim=-1)
        margins = torch.minimum(torch.minimum(distance - config.near, config.far - distance), lateral)
        scaled = margins / BORDER_SOFTNESS
        # The mean over the cameras cancels between the two; in logarithms, because far inside nothing else is left.
        odds = logsigmoid(scaled).logsumexp(dim=0) - logsigmoid(-scaled).logsumexp(dim=0)
        return BORDER_SOFTNESS * (odds - math.log(SEEN_BY_FRACTION / (1.0 - SEEN_BY_FRACTION)))

    def bounds(self) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
        """Lower and upper world corner of an axis-aligned box around the seen region, a little larger than it.

        Where no place is seen by enough cameras, the box around all that any of them sees.
        """
        config, tangent = self.config, math.tan(math.radians(self.config.fov_deg) / 2.0)
        corners = self.positions.new_tensor([[x, y, -1.0] for x, y in itertools.product((-tangent, tangent), repeat=2)])
        # The far end of a frustum is a part of a sphere; the plane that touches it bounds it.
        local = torch.cat([config.near * normalize(corners, dim=-1), config.far * corners])
        world = torch.einsum("cij,kj->cki", self.rotations, local) + self.positions[:, None]
        # Of wide frames the far corners lie much further out than anything that is seen.
        lower = torch.maximum(world.amin(dim=(0, 1)), self.positions.amin(dim=0) - config.far)
        upper = torch.minimum(world.amax(dim=(0, 1)), self.positions.amax(dim=0) + config.far)
        steps = torch.linspace(0.0, 1.0, BOUNDS_STEPS + 1, device=lower.device)
        lattice = lower + (upper - lower) * torch.cartesian_prod(steps, steps, steps)
        seen = lattice[self.margin(lattice) > 0]
        if len(seen) == 0:
            return lower, upper
        spacing = (upper - lower) / BOUNDS_STEPS
        return torch.maximum(seen.amin(dim=0) - spacing, lower), torch.minimum(seen.amax(dim=0) + spacing, upper)

    def facing_directions(self, normals: Float[Tensor, "point 3"]) -> Float[Tensor, "point 3"]:
        """Unit view directions, from the camera into the scene, in which surfaces of these outward normals were seen.

        The mean of the cameras' directions, weighted by exp(sharpness * cosine to the inward normal): the inward
        normal where cameras stood all around, the nearest of the prior's directions where they stood in front only.
        A view-dependent colour was never trained in any other direction.
        """
        directions = -normalize(self.positions, dim=-1)
        weights = torch.softmax(FACING_SHARPNESS * (-normals @ directions.T), dim=-1)
        return normalize(weights @ directions, dim=-1)
