"""Whole measurements of a model's pictures: who is compared with whom, what is kept, what is refused."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from ball_model import BallModel, ball_model
from feature_files import DIMENSION, file_sha256, save_network
from torch import Tensor

from gan3d_ns.data.image_collection import ImageCollection, ImageCollectionConfig
from gan3d_ns.errors import UserError
from gan3d_ns.metrics import feature_cache
from gan3d_ns.metrics.feature_cache import cached_features
from gan3d_ns.metrics.feature_distances import frechet_distance, kernel_distance, precision_recall
from gan3d_ns.metrics.feature_networks import EFFICIENTNET, FeatureNetwork, open_features
from gan3d_ns.metrics.generated_views import draw_views, render_views
from gan3d_ns.metrics.picture_quality import generated_bytes, measure_pictures, picture_counts, real_bytes
from gan3d_ns.metrics.settings import PictureConfig

SIDE = 16


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GAN3D_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    return save_network(tmp_path / "colours.pt")


@pytest.fixture(scope="module")
def model() -> BallModel:
    return ball_model()


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> ImageCollection:
    """Forty pictures of random cells, no two alike."""
    folder, randomness = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(40):
        cells = randomness.integers(0, 256, (2, 2, 3), dtype=np.uint8)
        imageio.imwrite(folder / f"{number:02d}.png", cells.repeat(SIDE // 2, axis=0).repeat(SIDE // 2, axis=1))
    return ImageCollectionConfig().setup(source=folder, resolution=SIDE)


def counted(network: FeatureNetwork) -> tuple[FeatureNetwork, list[int]]:
    """The network, and the numbers of pictures that it was called with."""
    calls: list[int] = []

    def embed(images: Tensor) -> Tensor:
        calls.append(len(images))
        return network.embed(images)

    return dataclasses.replace(network, embed=embed), calls


def settings(colours: Path, **changes) -> PictureConfig:
    return PictureConfig(**{"features": str(colours), "num_generated": 12, "batch": 5, **changes})


def test_every_metric_is_what_it_says_of_whom_it_says(model, collection, colours: Path) -> None:
    """The whole protocol again, slowly: permutation, cut, features of all sets, the measures."""
    chosen = settings(colours, num_real=20, seed=3)
    records = {record.metric: record for record in measure_pictures(model, collection, SIDE, chosen)}
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    cells = collection.images[order].double().reshape(40, 3, 2, SIDE // 2, 2, SIDE // 2).mean(dim=(3, 5)).flatten(1)
    real, floor = cells[:20] / 255.0, cells[20:32] / 255.0
    rendered = torch.cat([view.rgb for view in render_views(model, draw_views(model, 12, 3), SIDE)])
    pixels = (rendered.double() * 255.0).round().reshape(12, 3, 2, SIDE // 2, 2, SIDE // 2)
    generated = pixels.mean(dim=(3, 5)).flatten(1) / 255.0

    def spread(features: Tensor) -> float:
        return float(torch.cdist(features, features).sum() / len(features) / (len(features) - 1))

    for sets, part in ((generated, "value"), (floor, "floor")):
        assert getattr(records["fid"], part) == pytest.approx(frechet_distance(sets, real), rel=1e-4)
        assert getattr(records["kid"], part) == pytest.approx(kernel_distance(sets, real, 3).mean, rel=1e-4)
        shares = precision_recall(sets, real)
        assert getattr(records["precision"], part) == pytest.approx(shares.precision)
        assert getattr(records["recall"], part) == pytest.approx(shares.recall)
        assert getattr(records["diversity"], part) == pytest.approx(spread(sets) / spread(real), rel=1e-4)
    assert records["kid"].deviation == pytest.approx(kernel_distance(generated, real, 3).deviation, rel=1e-4)
    assert [records[name].better for name in records] == ["lower", "lower", "higher", "higher", ""]


def test_the_protocol_says_all_that_the_values_depend_on(model, collection, colours: Path) -> None:
    chosen = settings(colours, truncation=0.7, raw_weights=True, resolution=8)
    for record in measure_pictures(model, collection, SIDE, chosen):
        expected = {
            "features": "colours.pt",
            "features_sha256": file_sha256(colours),
            "features_side": None,
            "features_filter": "the network's own",
            "num_real": 12,
            "num_generated": 12,
            "num_floor": 12,
            "resolution": 8,
            "picture_filter": "mean of blocks from 16",
            "generated_filter": "one ray for each pixel",
            "truncation": 0.7,
            "weights": "raw",
            "mirrored": False,
            "pose_prior": "uniform, yaw 0 +- 180, elevation 30 +- 25, fov 12, radius 1",
            "seed": 0,
            "batch": 5,
        }
        assert {name: record.protocol[name] for name in expected} == expected
        assert len(str(record.protocol["real_sha256"])) == 64
        assert record.heading == f"{record.metric} [colours.pt {file_sha256(colours)[:8]}, 8 px]"
    fid = measure_pictures(model, collection, SIDE, chosen)[0]
    assert (fid.protocol["dimensions"], fid.protocol["fewer_pictures_than_dimensions"]) == (DIMENSION, True)


def test_the_same_seed_gives_the_same_digits_and_another_does_not(model, collection, colours: Path) -> None:
    first = measure_pictures(model, collection, SIDE, settings(colours))
    torch.manual_seed(99)
    assert measure_pictures(model, collection, SIDE, settings(colours)) == first
    others = measure_pictures(model, collection, SIDE, settings(colours, seed=1))
    assert others[0].value != first[0].value
    assert others[0].floor != first[0].floor
    assert others[0].protocol["real_sha256"] != first[0].protocol["real_sha256"]


def test_real_features_are_kept_and_give_the_same_digits(model, collection, colours: Path) -> None:
    network, calls = counted(open_features(str(colours)))
    first = measure_pictures(model, collection, SIDE, settings(colours), network=network)
    assert calls == [5, 5, 5, 5, 4, 5, 5, 2]
    calls.clear()
    second = measure_pictures(model, collection, SIDE, settings(colours), network=network)
    assert calls == [5, 5, 2], "only the generated pictures are new"
    assert second == first


def test_what_changes_the_features_is_looked_at_anew(collection, colours: Path) -> None:
    network, calls = counted(open_features(str(colours)))
    order = torch.arange(10)

    def measure(network: FeatureNetwork, order: Tensor = order, resolution: int = SIDE) -> bool:
        """Whether the network was asked."""
        calls.clear()
        cached_features(network, lambda: real_bytes(collection, order, resolution, 5))
        return bool(calls)

    assert measure(network)
    assert not measure(network)
    assert measure(network, order.flip(0))
    assert measure(network, resolution=8)
    assert measure(dataclasses.replace(network, sha256="0" * 64))
    assert not measure(network)


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "folder"])
def test_a_damaged_cache_is_made_anew_without_a_word(
    collection, colours: Path, cache: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    network, calls = counted(open_features(str(colours)))

    def features() -> Tensor:
        return cached_features(network, lambda: real_bytes(collection, torch.arange(10), SIDE, 5)).features

    before = features()
    (file,) = cache.rglob("*.safetensors")
    content = file.read_bytes()
    if damage == "folder":
        file.unlink()
    else:
        changed = content[:-1] + bytes([content[-1] ^ 1])
        file.write_bytes({"cut": content[:-7], "changed": changed, "empty": b""}[damage])
    calls.clear()
    assert torch.equal(features(), before)
    assert calls == [5, 5]
    calls.clear()
    assert torch.equal(features(), before)
    assert calls == []
    assert [file.read_bytes() for file in cache.rglob("*.safetensors")] == [content]
    assert capsys.readouterr().out == ""


def test_of_two_processes_that_compute_both_have_the_features(
    collection, colours: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = open_features(str(colours))

    def features(network: FeatureNetwork) -> Tensor:
        return cached_features(network, lambda: real_bytes(collection, torch.arange(10), SIDE, 5)).features

    others: list[Tensor] = []

    def embed_slowly(images: Tensor) -> Tensor:
        if not others:
            others.append(features(network))
        return network.embed(images)

    assert torch.equal(features(dataclasses.replace(network, embed=embed_slowly)), others[0])
    assert len(list(cache.rglob("*.safetensors"))) == 1
    assert not [path for path in cache.rglob("*") if "partial" in path.name]


def test_a_cache_that_cannot_be_written_is_said_and_does_not_stop(
    collection, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GAN3D_CACHE", str(tmp_path / "file"))
    said: list[str] = []
    monkeypatch.setattr(feature_cache.CONSOLE, "print", said.append)
    known = cached_features(open_features(str(colours)), lambda: real_bytes(collection, torch.arange(10), SIDE, 5))
    assert known.features.shape == (10, DIMENSION)
    assert len(said) == 1
    assert "not kept" in said[0]
    assert "GAN3D_CACHE" in said[0]


def test_real_pictures_come_back_as_their_bytes(collection) -> None:
    order = torch.tensor([7, 3, 31])
    assert torch.equal(torch.cat(list(real_bytes(collection, order, SIDE, 2))), collection.images[order])
    reduced = torch.cat(list(real_bytes(collection, order, 8, 2)))
    assert torch.equal(reduced, collection.images[order][..., ::2, ::2])


def test_generated_pictures_do_not_depend_on_the_parts(model) -> None:
    parts = [
        torch.cat(list(generated_bytes(model, 5, SIDE, PictureConfig(num_generated=5, batch=batch))))
        for batch in (1, 2, 5, 9)
    ]
    assert all(len(part) == 5 and torch.equal(part, parts[0]) for part in parts)


def test_counts_share_the_collection_between_reference_and_floor() -> None:
    assert picture_counts(2000, PictureConfig()) == (1000, 1000)
    assert picture_counts(10000, PictureConfig()) == (2048, 2048)
    assert picture_counts(10000, PictureConfig(num_real=7952)) == (7952, 2048)
    assert picture_counts(9, PictureConfig()) == (4, 4)


def test_the_progress_grows_to_1(model, collection, colours: Path) -> None:
    told: list[float] = []
    measure_pictures(model, collection, SIDE, settings(colours), told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert 0 < told[0] < 0.2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"resolution": 17}, "17 pixels a side are asked for, but the real ones are stored at 16"),
        ({"resolution": 0}, "0 pixels a side are asked for"),
        ({"num_real": 29}, "29 real pictures and 12 others for the floor .* has 40; ask for num_real 28 or less"),
        ({"features_sha256": "12ab"}, "SHA-256 .* but 12ab was asked for"),
        ({"features": "nowhere.pt"}, "no feature network nowhere.pt"),
    ],
)
def test_what_cannot_be_measured_is_said_before_any_picture(
    model, collection, colours: Path, changes: dict, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(model.generator), "render", lambda *arguments: pytest.fail("rendered"))
    with pytest.raises(UserError, match=sentence):
        measure_pictures(model, collection, SIDE, settings(colours, **changes))


def test_too_few_pictures_say_how_many_are_needed() -> None:
    with pytest.raises(UserError, match=r"7 pictures are too few .* at least 8 are needed"):
        picture_counts(7, PictureConfig())
    with pytest.raises(UserError, match=r"num_generated is 3, .* at least 4"):
        PictureConfig(num_generated=3)
    with pytest.raises(UserError, match=r"num_real is 0, .* at least 4"):
        PictureConfig(num_real=0)
    with pytest.raises(UserError, match="batch is 0"):
        PictureConfig(batch=0)


def test_a_diverged_generator_is_said(collection, colours: Path) -> None:
    model = ball_model()
    model.generator_ema.field.colours = lambda positions, directions, styles: positions * math.nan
    with pytest.raises(UserError, match="diverged"):
        measure_pictures(model, collection, SIDE, settings(colours))


def test_efficientnet_orders_what_eyes_order() -> None:
    """Other cars are nearest to cars, then blurred cars, then cars in noise, then noise; more noise is further."""
    from gan3d_ns.data.procedural import procedural_collection_folder

    num = 16
    folder = procedural_collection_folder(num_images=2 * num, resolution=24)
    cars = ImageCollectionConfig().setup(source=folder, resolution=24).images
    network, randomness = open_features(EFFICIENTNET), torch.Generator().manual_seed(0)

    def noisy(images: Tensor, strength: float) -> Tensor:
        noise = strength * torch.randn(images.shape, generator=randomness)
        return (images + noise).round().clamp(0, 255).to(torch.uint8)

    others = cars[num:]
    blurred = torch.nn.functional.avg_pool2d(others.float(), 3, stride=1, padding=1, count_include_pad=False)
    sets = [others, blurred.round().to(torch.uint8), noisy(others, 40.0), noisy(torch.zeros_like(others), 400.0)]
    real = network(cars[:num])
    features = [network(images) for images in sets]
    fid = [frechet_distance(part, real) for part in features]
    kid = [kernel_distance(part, real).mean for part in features]
    assert fid == sorted(fid)
    assert kid == sorted(kid)
    assert kid[0] < 0.2 * kid[1]
