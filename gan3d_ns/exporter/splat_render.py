"""Pictures of splats in plain PyTorch: readable, differentiable, on any device; the slow twin of gsplat's rasterizer.

Splatting by the elliptical weighted average of Zwicker et al. 2001, as Kerbl et al. 2023 and gsplat do it: a Gaussian
is projected to the picture by the Jacobian of the perspective at its centre, and pixels composite front to back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from gan3d_ns.exporter.splats import Splats

BLUR = 0.3
"""Square pixels that are added to each projected covariance, so that no splat falls between the pixels (gsplat)."""
LEAST_ALPHA = 1.0 / 255.0
"""What is fainter at a pixel is left out (gsplat)."""
LARGEST_ALPHA = 0.999
"""No splat is quite opaque at a pixel (gsplat)."""
LEAST_TRANSMITTANCE = 1e-4
"""Splats that would let less light than this pass are left out, with all behind them (gsplat)."""
NEAR_PLANE = 0.01
"""World units in front of the camera from which on splats are drawn (gsplat)."""
FRAME_MARGIN = 0.3
"""The Jacobian is taken at most this fraction of half the frame's width beyond the border (gsplat)."""
ROWS_AT_ONCE = 64
"""Rows of the picture that are composited together: bounds the memory."""


@dataclass(frozen=True)
class SplatPicture:
    """What a camera sees of splats; row 0 on top."""

    rgb: Float[Tensor, "height width 3"]
    """sRGB before the background."""
    accumulation: Float[Tensor, "height width"]
    """Opacity."""


@dataclass(frozen=True)
class ProjectedSplats:
    """Splats in pixels of one camera; the centre of the top left pixel is (.5, .5)."""

    centres: Float[Tensor, "splat 2"]
    """x to the right, y down."""
    covariances: Float[Tensor, "splat 2 2"]
    """In square pixels, with the blur."""
    depths: Float[Tensor, "splat"]
    """Along the optical axis, in world units."""


def world_to_camera(camera: Cameras) -> Float[Tensor, "4 4"]:
    """Of one camera, to OpenCV's frame (right, down, forward) in which splats are projected."""
    pose = camera.camera_to_worlds.reshape(3, 4)
    rotation = pose[:, :3] * pose.new_tensor([1.0, -1.0, -1.0])
    matrix = torch.eye(4, dtype=pose.dtype, device=pose.device)
    matrix[:3, :3], matrix[:3, 3] = rotation.T, -rotation.T @ pose[:, 3]
    return matrix


def intrinsics(camera: Cameras) -> Float[Tensor, "3 3"]:
    """Focal lengths and centre of one camera, in pixels."""
    return camera.get_intrinsics_matrices().reshape(3, 3).to(camera.camera_to_worlds)


def project(splats: Splats, camera: Cameras) -> ProjectedSplats:
    """Centres, 2D covariances J W C W^T J^T + blur and depths (Zwicker et al. 2001, equations 26 to 31)."""
    matrix, lens = world_to_camera(camera), intrinsics(camera)
    width, height = int(camera.width.item()), int(camera.height.item())
    local = splats.positions @ matrix[:3, :3].T + matrix[:3, 3]
    depths = local[:, 2]
    slopes = local[:, :2] / depths[:, None]
    focal, centre, size = lens.diagonal()[:2], lens[:2, 2], lens.new_tensor([width, height])
    margin = FRAME_MARGIN * size / (2.0 * focal)
    bounded = torch.minimum(torch.maximum(slopes, -centre / focal - margin), (size - centre) / focal + margin)
    zero = torch.zeros_like(depths)
    jacobian = torch.stack(
        (
            torch.stack((focal[0] / depths, zero, -focal[0] * bounded[:, 0] / depths), dim=-1),
            torch.stack((zero, focal[1] / depths, -focal[1] * bounded[:, 1] / depths), dim=-1),
        ),
        dim=-2,
    )
    across = jacobian @ matrix[:3, :3]
    blur = BLUR * torch.eye(2, dtype=depths.dtype, device=depths.device)
    return ProjectedSplats(slopes * focal + centre, across @ splats.covariances @ across.transpose(1, 2) + blur, depths)


def render_splats(splats: Splats, camera: Cameras, background: Float[Tensor, "3"] | float = 0.0) -> SplatPicture:
    """The picture of one camera; gradients reach all properties of the splats.

    Time and memory grow with the pixels that splats cover, summed over the splats: for tests, small pictures and
    machines without a GPU.
    """
    projected = project(splats, camera)
    width, height = int(camera.width.item()), int(camera.height.item())
    with torch.no_grad():
        order = projected.depths.argsort()
        order = order[projected.depths[order] > NEAR_PLANE]
        # exp(-m^2 / 2) opacity = LEAST_ALPHA at m standard deviations; a box of m deviations on each axis holds that.
        reach = (2.0 * (splats.opacities[order] / LEAST_ALPHA).clamp(min=1.0).log()).sqrt()[:, None]
        extent = reach * projected.covariances[order].diagonal(dim1=1, dim2=2).sqrt()
        limits = projected.centres.new_tensor([width, height])
        first = (projected.centres[order] - extent - 0.5).ceil().clamp(min=0.0)
        last = torch.minimum((projected.centres[order] + extent - 0.5).floor(), limits - 1.0)
        boxes = torch.cat((first, last), dim=1).long()
    rgb, accumulation = [], []
    for top in range(0, height, ROWS_AT_ONCE):
        bottom = min(top + ROWS_AT_ONCE, height)
        with torch.no_grad():
            pixels, owners = fragments(boxes, top, bottom, width)
            owners = order[owners]
            visible = alphas_at(pixels, owners, splats.opacities, projected, width) >= LEAST_ALPHA
            pixels, owners = pixels[visible], owners[visible]
            # Owners are in the order of their depth, and stay so within each pixel.
            pixels, by_pixel = pixels.sort(stable=True)
            owners = owners[by_pixel]
        alphas = alphas_at(pixels, owners, splats.opacities, projected, width).clamp(max=LARGEST_ALPHA)
        weights = front_to_back(alphas, pixels)
        channels = torch.cat((weights[:, None] * splats.colours[owners], weights[:, None]), dim=1)
        band = channels.new_zeros((bottom - top) * width, 4).index_add(0, pixels - top * width, channels)
        rgb.append(band[:, :3].reshape(bottom - top, width, 3))
        accumulation.append(band[:, 3].reshape(bottom - top, width))
    opaque = torch.cat(accumulation)
    return SplatPicture(torch.cat(rgb) + (1.0 - opaque[..., None]) * background, opaque)


def fragments(
    boxes: Int[Tensor, "splat 4"], top: int, bottom: int, width: int
) -> tuple[Int[Tensor, "fragment"], Int[Tensor, "fragment"]]:
    """Pixels (row * width + column) of each box within the rows, and whose box it is, box after box.

    Boxes are first column, first row, last column, last row; empty where a last lies before the first.
    """
    left, right = boxes[:, 0], boxes[:, 2]
    upper, lower = boxes[:, 1].clamp(min=top), boxes[:, 3].clamp(max=bottom - 1)
    columns, rows = (right - left + 1).clamp(min=0), (lower - upper + 1).clamp(min=0)
    counts = columns * rows
    owners = torch.repeat_interleave(torch.arange(len(boxes), device=boxes.device), counts)
    starts = counts.cumsum(0) - counts
    inner = torch.arange(len(owners), device=boxes.device) - starts[owners]
    row, column = inner // columns[owners], inner % columns[owners]
    return (upper[owners] + row) * width + left[owners] + column, owners


def alphas_at(
    pixels: Int[Tensor, "fragment"],
    owners: Int[Tensor, "fragment"],
    opacities: Float[Tensor, "splat"],
    projected: ProjectedSplats,
    width: int,
) -> Float[Tensor, "fragment"]:
    """opacity * exp(-d^T C^-1 d / 2) of the pixels' centres."""
    centres = torch.stack((pixels % width, pixels // width), dim=-1).to(projected.centres.dtype) + 0.5
    across, down = (centres - projected.centres[owners]).unbind(-1)
    covariances = projected.covariances
    xx, xy, yy = covariances[:, 0, 0], covariances[:, 0, 1], covariances[:, 1, 1]
    inverses = torch.stack((yy, -xy, xx), dim=-1) / (xx * yy - xy * xy)[:, None]
    ixx, ixy, iyy = inverses[owners].unbind(-1)
    return opacities[owners] * torch.exp(-0.5 * (ixx * across**2 + iyy * down**2) - ixy * across * down)


def front_to_back(alphas: Float[Tensor, "fragment"], pixels: Int[Tensor, "fragment"]) -> Float[Tensor, "fragment"]:
    """alpha_i prod_{j < i} (1 - alpha_j) over the fragments of each pixel, which follow each other front to back."""
    # In float64: the sums run over the whole picture, and a pixel's part is the difference of two of them.
    passed = torch.log1p(-alphas.double())
    sums = passed.cumsum(0)
    first = torch.ones_like(pixels, dtype=torch.bool)
    first[1:] = pixels[1:] != pixels[:-1]
    before = sums - passed
    begin = before[first][first.cumsum(0) - 1]
    drawn = (sums - begin).detach() > math.log(LEAST_TRANSMITTANCE)
    return alphas * torch.exp(before - begin).to(alphas.dtype) * drawn


def gsplat_problem(device: torch.device) -> str | None:
    """Why gsplat cannot rasterize on a device; None where it can. It may compile itself first, which takes minutes."""
    one = torch.tensor([[0.0, 0.0, 0.0]], device=device)
    splat = Splats(one, one + 0.01, torch.tensor([[1.0, 0.0, 0.0, 0.0]], device=device), one[:, 0] + 0.5, one + 0.5)
    eye = torch.tensor([[[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]], device=device)
    camera = Cameras(eye, fx=8.0, fy=8.0, cx=4.0, cy=4.0, width=8, height=8).to(device)[0:1]
    try:
        render_with_gsplat(splat, camera)
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}".splitlines()[0]
    return None


def render_with_gsplat(splats: Splats, camera: Cameras, background: Float[Tensor, "3"] | float = 0.0) -> SplatPicture:
    """The same picture by gsplat's rasterizer, which needs a CUDA device."""
    from gsplat import rasterization

    rgb, accumulation, _ = rasterization(
        means=splats.positions,
        quats=splats.rotations,
        scales=splats.scales,
        opacities=splats.opacities,
        colors=splats.colours,
        viewmats=world_to_camera(camera)[None],
        Ks=intrinsics(camera)[None],
        width=int(camera.width.item()),
        height=int(camera.height.item()),
        near_plane=NEAR_PLANE,
        eps2d=BLUR,
        packed=False,
    )
    opaque = accumulation[0, ..., 0]
    return SplatPicture(rgb[0] + (1.0 - opaque[..., None]) * background, opaque)
