"""Sliced Wasserstein distances follow their laws, and tell good pictures from bad ones."""

from __future__ import annotations

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from ball_model import ball_model
from torch import Tensor
from torch.nn import functional

from gan3d_ns.data.image_collection import ImageCollection, ImageCollectionConfig
from gan3d_ns.errors import UserError
from gan3d_ns.metrics.sliced_wasserstein import (
    PATCH_SIDE,
    RealPictures,
    SlicedWassersteinConfig,
    descriptors,
    enlarged,
    laplacian_pyramid,
    measure_sliced_wasserstein,
    overall,
    random_patches,
    sliced_wasserstein,
    unit_directions,
)

SETTINGS = SlicedWassersteinConfig(num_pictures=12, num_patches=8, num_directions=32)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(seed: int, count: int = 40, dim: int = 5) -> Tensor:
    return torch.randn(count, dim, generator=seeded(seed))


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> ImageCollection:
    """Discs of random colours at random places."""
    folder, randomness = tmp_path_factory.mktemp("discs"), np.random.default_rng(0)
    row, column = np.mgrid[:32, :32] / 31 * 2 - 1
    for index in range(30):
        centre, colour = randomness.uniform(-0.3, 0.3, 2), randomness.uniform(80, 255, 3)
        inside = (row - centre[0]) ** 2 + (column - centre[1]) ** 2 < 0.4
        imageio.imwrite(folder / f"{index:02d}.png", (inside[..., None] * colour).astype(np.uint8))
    return ImageCollection(ImageCollectionConfig(), folder, 32)


def test_directions_have_length_one_and_no_bias() -> None:
    directions = unit_directions(4, 4000, seeded(0))
    torch.testing.assert_close(directions.norm(dim=0), torch.ones(4000))
    torch.testing.assert_close(directions @ directions.T / 4000, torch.eye(4) / 4, rtol=0, atol=0.02)


def test_a_set_is_at_distance_zero_from_itself_in_any_order() -> None:
    directions = unit_directions(5, 16, seeded(0))
    first = points(1)
    assert sliced_wasserstein(first, first.flip(0), directions) == 0.0


def test_distances_are_symmetric_and_obey_the_triangle() -> None:
    directions = unit_directions(5, 16, seeded(0))
    a, b, c = points(1), points(2) * 2.0, points(3) + 1.0
    assert sliced_wasserstein(a, b, directions) == sliced_wasserstein(b, a, directions) > 0.1
    direct, around = sliced_wasserstein(a, c, directions), sliced_wasserstein(a, b, directions)
    assert direct <= around + sliced_wasserstein(b, c, directions) + 1e-6


def test_a_shifted_set_lies_at_the_mean_projection_of_the_shift() -> None:
    directions, shift = unit_directions(5, 64, seeded(0)), torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0])
    expected = float((shift @ directions).abs().mean())
    assert sliced_wasserstein(points(1), points(1) + shift, directions) == pytest.approx(expected, rel=1e-5)


def test_gaussians_of_two_widths_on_a_line_have_their_closed_form() -> None:
    """W1 of N(0, 1) and N(0, s^2) on a line is abs(s - 1) sqrt(2 / pi)."""
    directions = torch.ones(1, 1)
    first, second = torch.randn(2, 40000, 1, generator=seeded(0), dtype=torch.float64).unbind()
    found = sliced_wasserstein(first, 3.0 * second, directions.double())
    assert found == pytest.approx(2.0 * (2.0 / np.pi) ** 0.5, rel=0.02)


def test_the_pyramid_adds_up_to_the_pictures() -> None:
    pictures = torch.rand(2, 3, 64, 64, generator=seeded(0))
    bands = laplacian_pyramid(pictures)
    assert [(name, band.shape[-1]) for name, band in bands.items()] == [
        ("patches_64", 64),
        ("patches_32", 32),
        ("patches_16", 16),
    ]
    fine, middle, coarse = bands.values()
    torch.testing.assert_close(enlarged(enlarged(coarse, 32) + middle, 64) + fine, pictures)
    assert [band.shape[-1] for band in laplacian_pyramid(pictures[..., :8, :8]).values()] == [8]


@pytest.mark.parametrize(("side", "sides"), [(66, [66, 33, 16]), (70, [70, 35, 17]), (33, [33, 16])])
def test_the_pyramid_of_odd_sides_adds_up_too(side: int, sides: list[int]) -> None:
    pictures = torch.rand(2, 3, side, side, generator=seeded(0))
    *finer, total = laplacian_pyramid(pictures).values()
    assert [band.shape[-1] for band in (*finer, total)] == sides
    for band in reversed(finer):
        total = enlarged(total, band.shape[-1]) + band
    torch.testing.assert_close(total, pictures)


def test_patches_are_cut_out_of_their_own_picture() -> None:
    """Each value tells its picture, channel, row and column."""
    picture, channel, row, column = torch.meshgrid(*(torch.arange(size) for size in (2, 3, 12, 12)), indexing="ij")
    patches = random_patches(picture * 10000 + channel * 1000.0 + row * 20 + column, 50, seeded(0))
    patches = patches.unflatten(0, (2, 50)).unflatten(-1, (PATCH_SIDE, PATCH_SIDE))
    corner = patches[..., :1, :1]
    rows, columns = torch.arange(PATCH_SIDE)[:, None] * 20, torch.arange(PATCH_SIDE)
    torch.testing.assert_close(patches - corner, (rows + columns).expand_as(patches).float())
    place = corner.flatten(2) - 10000 * torch.arange(2)[:, None, None] - 1000 * torch.arange(3)
    assert set((place // 20).unique().tolist()) == set((place % 20).unique().tolist()) == set(range(6))
    torch.testing.assert_close(place, place[..., :1].expand_as(place))


def test_descriptors_do_not_depend_on_batches() -> None:
    pictures = torch.rand(5, 3, 32, 32, generator=seeded(0))
    whole, parts = descriptors([pictures], SETTINGS), descriptors(pictures.split(2), SETTINGS)
    torch.testing.assert_close(whole, parts, rtol=0, atol=0)
    other = descriptors([pictures], SlicedWassersteinConfig(num_pictures=12, num_patches=8, seed=1))
    assert not torch.equal(whole["patches_32"], other["patches_32"])


def test_the_real_pictures_themselves_are_at_distance_zero(collection: ImageCollection) -> None:
    everything = SlicedWassersteinConfig(num_pictures=100)
    real = RealPictures(collection, 32, everything)
    assert real.count == 30 and real.floor is None, "no others are left"
    order = torch.randperm(30, generator=seeded(0))
    found = real.distances([collection.batch(order, 32) / 2.0 + 0.5])
    assert set(found.values()) == {0.0}


def test_worse_pictures_are_further_away(collection: ImageCollection) -> None:
    """Noise is seen in the details, a missing half in the whole, another colour everywhere, blur in the details."""
    real = RealPictures(collection, 32, SETTINGS)
    assert real.floor is not None
    others = collection.batch(torch.arange(18, 30), 32) / 2.0 + 0.5
    fair = real.distances([others])
    noise = torch.randn(others.shape, generator=seeded(0))
    light, heavy = (real.distances([(others + size * noise).clamp(0, 1)]) for size in (0.05, 0.2))
    blurred = real.distances([functional.avg_pool2d(others, 5, stride=1, padding=2)])
    shifted = real.distances([others.roll(16, dims=-1)])
    red = real.distances([others * torch.tensor([1.0, 0.3, 0.3])[:, None, None]])
    assert overall(fair) < overall(light) < overall(heavy)
    assert blurred["patches_32"] > 1.5 * fair["patches_32"]
    assert shifted["pictures"] > 2.0 * fair["pictures"], "patches do not know their place"
    assert red["pictures"] > fair["pictures"] and red["patches_16"] > fair["patches_16"]


def test_generated_views_are_measured_the_same_twice(collection: ImageCollection) -> None:
    model, fractions = ball_model(), []
    records = [
        measure_sliced_wasserstein(model, RealPictures(collection, 16, SETTINGS), report=fractions.append)
        for _ in range(2)
    ]
    assert records[0] == records[1]
    assert fractions[11] == 1.0 and fractions[:12] == sorted(fractions[:12])
    whole, *parts = records[0]
    assert whole.metric == "swd" and whole.better == "lower"
    assert [part.metric for part in parts] == ["swd_pictures", "swd_patches_16"]
    assert whole.value == pytest.approx((parts[0].value + parts[1].value) / 2.0)
    assert whole.floor is not None and 0.0 < whole.floor < whole.value, "a ball is no disc of random colour"
    assert whole.protocol["num_pictures"] == 12 and whole.protocol["resolution"] == 16
    other = SlicedWassersteinConfig(num_pictures=12, num_patches=8, num_directions=32, seed=3)
    assert measure_sliced_wasserstein(model, RealPictures(collection, 16, other))[0].value != whole.value


@pytest.mark.parametrize("name", ["num_pictures", "num_patches", "num_directions"])
def test_impossible_counts_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="cannot be taken"):
        SlicedWassersteinConfig(**{name: 0})
