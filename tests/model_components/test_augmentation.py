"""Augmentations: what they leave alone, what they do to each picture, and that gradients find the way back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gan3d_ns.model_components.augmentation import (
    NUM_UNIFORMS,
    Showing,
    augmentation_uniforms,
    change_colours,
    cut_out,
    diff_augment,
    translate,
)

SIDE = 16


def pictures(count: int = 6, side: int = SIDE) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0


def uniforms(count: int = 6, seed: int = 1) -> Tensor:
    return torch.rand(count, NUM_UNIFORMS, generator=torch.Generator().manual_seed(seed))


def test_the_middle_of_the_range_changes_no_colour() -> None:
    middle = torch.tensor([[0.5, 0.5, 0.5]]).expand(6, 3)
    torch.testing.assert_close(change_colours(pictures(), middle), pictures())


def test_each_colour_number_does_its_own() -> None:
    images = pictures(1)
    brighter = change_colours(images, torch.tensor([[0.9, 0.5, 0.5]]))
    torch.testing.assert_close(brighter, images + 0.4)
    grey = change_colours(images, torch.tensor([[0.5, 0.0, 0.5]]))
    torch.testing.assert_close(grey, images.mean(dim=1, keepdim=True).expand_as(images))
    flatter = change_colours(images, torch.tensor([[0.5, 0.5, 0.0]]))
    torch.testing.assert_close(flatter - flatter.mean(), 0.5 * (images - images.mean()))


@pytest.mark.parametrize(("numbers", "shift"), [((0.0, 0.5), (-2, 0)), ((0.5, 0.999), (0, 2)), ((0.7, 0.3), (1, -1))])
def test_translation_moves_by_whole_pixels_and_fills_with_grey(
    numbers: tuple[float, float], shift: tuple[int, int]
) -> None:
    """Sides of 16 move by up to 2 pixels, down and to the right."""
    images = pictures(2)
    moved = translate(images, torch.tensor([numbers, (0.5, 0.5)]))
    expected = torch.zeros_like(images[0])
    for row in range(SIDE):
        for column in range(SIDE):
            source = (row - shift[0], column - shift[1])
            if all(0 <= entry < SIDE for entry in source):
                expected[:, row, column] = images[0, :, source[0], source[1]]
    assert torch.equal(moved[0], expected)
    assert torch.equal(moved[1], images[1])


@pytest.mark.parametrize("side", [16, 32])
def test_shifts_are_uniform_up_to_an_eighth(side: int) -> None:
    marked = torch.zeros(4000, 3, side, side)
    marked[:, :, side // 2, side // 2] = 1.0
    numbers = torch.rand(4000, 2, generator=torch.Generator().manual_seed(2))
    where = translate(marked, numbers)[:, 0].flatten(1).argmax(dim=1)
    for shifts in (where // side - side // 2, where % side - side // 2):
        values, counts = shifts.unique(return_counts=True)
        assert values.tolist() == list(range(-(side // 8), side // 8 + 1))
        assert counts.min() > 0.7 * 4000 / len(values)


def test_the_hole_is_a_square_of_half_the_side_that_may_stand_out() -> None:
    images = torch.ones(5, 3, SIDE, SIDE)
    numbers = torch.tensor([[0.5, 0.5], [0.0, 0.0], [0.999, 0.999], [0.0, 0.999], [0.25, 0.5]])
    holes = cut_out(images, numbers)[:, 0] == 0
    places = [((4, 12), (4, 12)), ((0, 4), (0, 4)), ((12, 16), (12, 16)), ((0, 4), (12, 16)), ((0, 8), (4, 12))]
    for hole, (rows, columns) in zip(holes, places, strict=True):
        expected = torch.zeros(SIDE, SIDE, dtype=torch.bool)
        expected[slice(*rows), slice(*columns)] = True
        assert torch.equal(hole, expected)


def test_every_place_is_seen_and_hidden() -> None:
    numbers = torch.rand(2000, 2, generator=torch.Generator().manual_seed(3))
    hidden = (cut_out(torch.ones(2000, 3, SIDE, SIDE), numbers)[:, 0] == 0).float().mean(dim=0)
    assert hidden.min() > 0.05 and hidden.max() < 0.4
    torch.testing.assert_close(hidden, hidden.flip(0), atol=0.07, rtol=0.0)


def test_a_picture_does_not_know_its_batch() -> None:
    """So a split batch shows each picture as the whole one does."""
    images, numbers = pictures(), uniforms()
    whole = diff_augment(images, numbers)
    parts = [diff_augment(images[part], numbers[part]) for part in (slice(0, 1), slice(1, 4), slice(4, 6))]
    assert torch.equal(torch.cat(parts), whole)


def test_gradients_pass_through() -> None:
    images = pictures(2, 8).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda shown: diff_augment(shown, uniforms(2)), (images,))


def test_a_hidden_pixel_teaches_nothing() -> None:
    images, numbers = pictures().requires_grad_(True), uniforms()[:, 5:7]
    (slope,) = torch.autograd.grad(cut_out(images, numbers).square().sum(), images)
    hidden = cut_out(torch.ones_like(images), numbers) == 0
    assert hidden.any(dim=3).any(dim=2).all()
    assert (slope[hidden] == 0).all() and (slope[~hidden] != 0).all()


def test_numbers_depend_on_the_generator_alone() -> None:
    first, second = (augmentation_uniforms(4, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.shape == (4, len(Showing), NUM_UNIFORMS)
    assert not torch.equal(first[:, Showing.FAKE_TO_GENERATOR], first[:, Showing.FAKE_TO_DISCRIMINATOR])
