"""Real pictures by position, virtual views for nerfstudio, and no pictures needed to look at a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import write_pictures

from gan3d_ns.errors import UserError

VIEWS, SIDE = 5, 16


def manager_of(data: Path | None, **settings: Any) -> Any:
    from gan3d_ns.data.datamanager import GanDataManagerConfig
    from gan3d_ns.data.dataparsers import ImageCollectionDataParserConfig

    dataparser = ImageCollectionDataParserConfig(num_virtual_views=VIEWS, virtual_view_resolution=SIDE)
    return GanDataManagerConfig(data=data, dataparser=dataparser, **settings).setup(device="cpu")


@pytest.fixture
def manager(tmp_path: Path) -> Any:
    manager = manager_of(write_pictures(tmp_path / "pictures"))
    manager.load_collection(32)
    return manager


def test_a_batch_depends_on_its_position_alone(manager: Any) -> None:
    whole = manager.real_batch(0, 20, 16, seed=4)
    assert whole.shape == (20, 3, 16, 16)
    assert whole.min() >= -1.0 and whole.max() <= 1.0
    parts = torch.cat([manager.real_batch(start, 5, 16, seed=4) for start in (0, 5, 10, 15)])
    torch.testing.assert_close(parts, whole, rtol=0, atol=0)
    assert not torch.equal(manager.real_batch(0, 20, 16, seed=5), whole)


def test_each_picture_is_shown_once_an_epoch(tmp_path: Path) -> None:
    manager = manager_of(write_pictures(tmp_path / "pictures"), horizontal_flip=False)
    manager.load_collection(16)
    size = len(manager.collection)
    epoch = manager.real_batch(size, size, 16, seed=0)
    torch.testing.assert_close(epoch.mean(dim=(1, 2, 3)).sort()[0], means_of(manager).sort()[0])


def means_of(manager: Any) -> torch.Tensor:
    return manager.collection.batch(torch.arange(len(manager.collection))).mean(dim=(1, 2, 3))


def test_flipping_can_be_switched_off(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures")
    flipped, straight = manager_of(folder), manager_of(folder, horizontal_flip=False)
    for manager in (flipped, straight):
        manager.load_collection(16)
    first, second = (manager.real_batch(0, 40, 16, seed=0) for manager in (flipped, straight))
    mirrored = torch.tensor([torch.equal(one, other.flip(-1)) for one, other in zip(first, second, strict=True)])
    same = torch.tensor([torch.equal(one, other) for one, other in zip(first, second, strict=True)])
    assert (mirrored | same).all()
    assert 5 < int((mirrored & ~same).sum()) < 35


def test_opens_without_pictures_but_does_not_train(tmp_path: Path) -> None:
    manager = manager_of(tmp_path / "gone")
    assert len(manager.train_dataset) == VIEWS
    with pytest.raises(UserError, match="ns-train"):
        manager.real_batch(0, 2, 16, seed=0)
    with pytest.raises(UserError, match="does not exist"):
        manager.load_collection(16)


def test_virtual_views_are_grey_pictures_on_the_prior(manager: Any) -> None:
    assert manager.train_dataset[0]["image"].shape == (SIDE, SIDE, 3)
    torch.testing.assert_close(manager.train_dataset[0]["image"], torch.full((SIDE, SIDE, 3), 128 / 255))
    positions = manager.train_dataset.cameras.camera_to_worlds[:, :, 3]
    torch.testing.assert_close(positions.norm(dim=1), torch.full((VIEWS,), manager.config.dataparser.pose_prior.radius))
    assert not torch.equal(positions, manager.eval_dataset.cameras.camera_to_worlds[:, :, 3])


def test_rays_for_the_exporters(manager: Any) -> None:
    """ns-export sets the size of a batch on the pixel sampler."""
    manager.train_pixel_sampler.num_rays_per_batch = 77
    rays, batch = manager.next_train(0)
    assert rays.origins.shape == (77, 3)
    assert set(batch["indices"][:, 0].tolist()) <= set(range(VIEWS))
    positions = manager.train_dataset.cameras.camera_to_worlds[:, :, 3]
    torch.testing.assert_close(rays.origins, positions[batch["indices"][:, 0]])
    torch.testing.assert_close(rays.directions.norm(dim=-1), torch.ones(77))


def test_the_data_flag_reaches_the_dataparser(tmp_path: Path) -> None:
    manager = manager_of(tmp_path)
    assert manager.config.dataparser.data == manager.get_datapath() == tmp_path


def test_without_a_folder_a_built_in_collection_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gan3d_ns.data import datamanager

    folders = {"toy-cars": write_pictures(tmp_path / "cars", num=3), "scenes": write_pictures(tmp_path / "s", num=5)}
    monkeypatch.setattr(datamanager, "built_in_folder", folders.__getitem__)
    manager = manager_of(None)
    manager.load_collection(16)
    assert len(manager.collection) == 3
    manager.config.built_in = "scenes"
    manager.load_collection(16)
    assert len(manager.collection) == 5
