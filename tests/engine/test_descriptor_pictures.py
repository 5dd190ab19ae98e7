"""Principal components as colours: equal descriptors have equal colours, in all pictures."""

from __future__ import annotations

import torch

from gan3d_ns.engine.descriptor_pictures import principal_pictures


def rows_of_parts(num_channels: int = 8) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Two rows of pictures of four parts with a descriptor each, seen through fog, and which part each pixel shows."""
    parts = [torch.randint(0, 4, (count, 6, 6)) for count in (3, 2)]
    table = torch.randn(4, num_channels)
    opacities = [torch.rand(part.shape) * 0.4 + 0.6 for part in parts]
    rows = [
        torch.cat((table[part] * opacity[..., None], opacity[..., None]), dim=-1)
        for part, opacity in zip(parts, opacities, strict=True)
    ]
    return rows, parts


def test_a_part_has_one_colour_in_all_pictures() -> None:
    rows, parts = rows_of_parts()
    pictures = torch.cat([picture.flatten(0, 2) for picture in principal_pictures(rows)])
    shown = torch.cat([part.flatten() for part in parts])
    colours = torch.stack([pictures[shown == index].mean(dim=0) for index in range(4)])
    torch.testing.assert_close(pictures, colours[shown], atol=1e-4, rtol=0.0)
    assert (torch.cdist(colours, colours) + torch.eye(4)).min() > 0.1


def test_red_tells_most() -> None:
    values = torch.randn(1, 20, 20, 1) * torch.tensor([0.1, 5.0, 0.5, 0.01])
    (picture,) = principal_pictures([torch.cat((values, torch.ones(1, 20, 20, 1)), dim=-1)])
    order = values[..., 1].flatten().argsort()
    assert (picture[..., 0].flatten()[order].diff() >= -1e-6).all()


def test_what_is_not_seen_is_black() -> None:
    rows, _ = rows_of_parts()
    rows[0][:, :2, :, -1] = 0.2
    pictures = principal_pictures(rows)
    assert [picture.shape for picture in pictures] == [(3, 6, 6, 3), (2, 6, 6, 3)]
    assert (pictures[0][:, :2] == 0).all()
    assert pictures[0][:, 2:].sum() > 0
    nothing = principal_pictures([torch.zeros(1, 4, 4, 9)])
    assert (nothing[0] == 0).all()


def test_few_channels_leave_colours_dark() -> None:
    (picture,) = principal_pictures([torch.cat((torch.randn(1, 5, 5, 2), torch.ones(1, 5, 5, 1)), dim=-1)])
    assert (picture[..., 2] == 0).all()
    assert picture[..., 1].sum() > 0
