"""Laws of the hash tables: both layouts against slow references, volumes against hashing, and the change of layout."""

from __future__ import annotations

import math

import pytest
import torch
from nerfstudio.field_components.encodings import HashEncoding
from torch import Tensor

from gan3d_ns.errors import UserError
from gan3d_ns.field_components import hash_encoding
from gan3d_ns.field_components.hash_encoding import (
    HashTable,
    HashTableConfig,
    Layout,
    TcnnTwin,
    corner_features,
    tcnn_levels,
    torch_levels,
)

SMALL = HashTableConfig(num_levels=5, base_resolution=4, finest_resolution=24, features_per_level=2, log2_table_size=9)
"""Two dense levels, of 4 and 7 vertices a side, and three hashed ones."""
TCNN_NAME, TORCH_NAME = "encoding.tcnn_encoding.params", "encoding.hash_table"


@pytest.fixture(autouse=True)
def without_tiny_cuda_nn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the tests for GPUs meet the real one, wherever the others run."""
    if not request.node.get_closest_marker("gpu"):
        monkeypatch.setattr(hash_encoding, "tcnn_works", lambda: False)


def random_table(layout: Layout, config: HashTableConfig = SMALL) -> HashTable:
    table = HashTable(config, layout)
    with torch.no_grad():
        table.parameter.uniform_(-1.0, 1.0)
    return table


def points_of_the_cube(count: int = 300) -> Tensor:
    """Random points, corners and vertices included."""
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 0.5, 1.0])] * 3)
    return torch.cat((torch.rand(count, 3), corners))


def tcnn_by_hand(params: list[float], point: list[float], config: HashTableConfig) -> list[float]:
    """tiny-cuda-nn's grid encoding of one point, number by number, with unsigned 32-bit integers."""
    count, size = config.features_per_level, 2**config.log2_table_size
    growth = (config.finest_resolution / config.base_resolution) ** (1 / (config.num_levels - 1))
    features, offset = [], 0
    for level in range(config.num_levels):
        scale = config.base_resolution * growth**level - 1
        side = math.ceil(scale - 1e-4) + 1
        entries = min((side**3 + 7) // 8 * 8, size)
        shifted = [scale * coordinate + 0.5 for coordinate in point]
        lowest = [math.floor(value) for value in shifted]
        sums = [0.0] * count
        for corner in range(8):
            weight, vertex = 1.0, []
            for axis in range(3):
                upper = corner >> axis & 1
                fraction = shifted[axis] - lowest[axis]
                weight *= fraction if upper else 1 - fraction
                vertex.append(lowest[axis] + upper)
            if side**3 <= entries:
                row = vertex[0] + vertex[1] * side + vertex[2] * side * side
            else:
                row = (vertex[0] ^ (vertex[1] * 2654435761 & 0xFFFFFFFF)) ^ (vertex[2] * 805459861 & 0xFFFFFFFF)
            start = (offset + row % entries) * count
            sums = [total + weight * value for total, value in zip(sums, params[start : start + count], strict=True)]
        features += sums
        offset += entries
    assert offset * count == len(params)
    return features


def test_the_twin_reads_the_vector_of_tiny_cuda_nn() -> None:
    table, points = random_table("tcnn"), points_of_the_cube()
    params = table.parameter.tolist()
    expected = torch.tensor([tcnn_by_hand(params, point, SMALL) for point in points.tolist()])
    torch.testing.assert_close(table(points), expected, atol=2e-5, rtol=1e-4)


def test_small_levels_are_dense_and_large_ones_hashed() -> None:
    strides = [level.stride for level in tcnn_levels(SMALL)]
    assert strides == [4, 7, None, None, None]
    for level in tcnn_levels(SMALL)[:2]:
        vertices = torch.cartesian_prod(*[torch.arange(level.stride)] * 3)
        assert len(level.index(vertices).unique()) == level.stride**3, "dense vertices share no entry"


def test_hashed_levels_hash_as_nerfstudio() -> None:
    """Their rows agree with nerfstudio's, apart from where a level starts."""
    nerfstudio = HashTable(SMALL, "torch").encoding
    vertices = torch.randint(0, 30, (200, 1, 3)).expand(-1, SMALL.num_levels, -1)
    theirs = nerfstudio.hash_fn(vertices) - nerfstudio.hash_offset
    for index, level in enumerate(tcnn_levels(SMALL)):
        if level.stride is None:
            assert torch.equal(level.index(vertices[:, index]) - level.first, theirs[:, index])


@pytest.mark.parametrize("num_levels", [1, 3, 4, 5, 8, 16])
@pytest.mark.parametrize("finest", [32, 64, 96, 100])
def test_levels_have_nerfstudios_resolutions(num_levels: int, finest: int) -> None:
    """Rounding included: the finest level of eight from 8 to 64 has 63 or 64 cells by the last bit."""
    config = HashTableConfig(num_levels=num_levels, finest_resolution=finest, log2_table_size=4)
    scales = torch.tensor([level.scale for level in torch_levels(config)])
    torch.testing.assert_close(scales, HashTable(config, "torch").encoding.scalings.float(), rtol=0, atol=0)


def test_the_torch_layout_is_nerfstudios() -> None:
    table, points = random_table("torch"), points_of_the_cube()
    assert isinstance(table.encoding, HashEncoding)
    expected = table.encoding.pytorch_fwd(points)
    torch.testing.assert_close(corner_features(points, table.table, torch_levels(SMALL)), expected)


@pytest.mark.parametrize("layout", ["torch", "tcnn"])
def test_volumes_read_as_the_table_does(layout: Layout) -> None:
    table = random_table(layout)
    points = torch.cat((points_of_the_cube(), torch.randn(50, 3)))
    volumes = table.volumes()
    assert len(volumes) > 0
    torch.testing.assert_close(table.read(volumes, points), table(points), atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize("layout", ["torch", "tcnn"])
def test_volumes_and_table_give_the_table_the_same_gradient(layout: Layout) -> None:
    table, points = random_table(layout), points_of_the_cube()
    weights = torch.randn(len(points), SMALL.num_features)
    gradients = [
        torch.autograd.grad((reads * weights).sum(), table.parameter)[0]
        for reads in (table.read(table.volumes(), points), table(points))
    ]
    torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-3)


def test_grids_too_fine_for_volumes_are_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_encoding, "MOST_VERTICES", 100)
    table, points = random_table("torch"), points_of_the_cube()
    assert len(table.volumes()) == 0
    torch.testing.assert_close(table.read(table.volumes(), points), table(points))


def test_reads_can_be_differentiated_twice() -> None:
    levels = tcnn_levels(HashTableConfig(2, 3, 5, 2, 6))
    table = torch.randn(sum(level.entries for level in levels), 2, dtype=torch.float64, requires_grad=True)
    points = torch.rand(3, 3, dtype=torch.float64).requires_grad_(True)
    assert torch.autograd.gradgradcheck(lambda x, numbers: corner_features(x, numbers, levels), (points, table))


@pytest.mark.parametrize(("saved", "built"), [("tcnn", "torch"), ("torch", "tcnn")])
def test_loading_takes_the_layout_of_the_checkpoint(saved: Layout, built: Layout) -> None:
    source, table, points = random_table(saved), random_table(built), points_of_the_cube()
    before = table.parameter
    optimizer = torch.optim.Adam(table.parameters())
    table.load_state_dict(source.state_dict())
    assert table.layout == saved
    assert table.parameter is before, "an optimizer made before loading must go on with the same parameter"
    assert list(table.state_dict()) == [TCNN_NAME if saved == "tcnn" else TORCH_NAME]
    torch.testing.assert_close(table(points), source(points))
    torch.testing.assert_close(table.read(table.volumes(), points), source(points), atol=3e-5, rtol=1e-4)
    table(points).sum().backward()
    optimizer.step()
    assert not torch.equal(table.parameter, source.parameter)


def test_a_table_of_another_size_does_not_change_the_layout() -> None:
    other = HashTableConfig(num_levels=3, base_resolution=4, finest_resolution=24, log2_table_size=9)
    table = random_table("torch")
    before = table.parameter.clone()
    with pytest.raises(RuntimeError, match="tcnn_encoding"):
        table.load_state_dict(random_table("tcnn", other).state_dict())
    assert table.layout == "torch"
    assert torch.equal(table.parameter, before)


def test_without_tiny_cuda_nn_its_layout_is_read_by_the_twin() -> None:
    table = HashTable(SMALL, hash_encoding.choose_layout("tcnn"))
    assert isinstance(table.encoding.tcnn_encoding, TcnnTwin)
    assert not table.native
    assert HashTable(SMALL, hash_encoding.choose_layout("auto")).layout == "torch"


def test_the_choice_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    hash_encoding.announce.cache_clear()
    for _ in range(3):
        hash_encoding.choose_layout("auto")
    assert capsys.readouterr().out.count("Hash encoding: torch") == 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"features_per_level": 3}, "takes 1, 2, 4 or 8"), ({"base_resolution": 80}, "from 80 to 64 cells")],
)
def test_sizes_that_make_no_sense_are_refused(settings: dict[str, int], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        HashTableConfig(**settings)


@pytest.mark.gpu
@pytest.mark.parametrize("config", [SMALL, HashTableConfig(), HashTableConfig(16, 16, 512, 2, 17)])
def test_the_twin_agrees_with_tiny_cuda_nn(config: HashTableConfig) -> None:
    pytest.importorskip("tinycudann")
    native = random_table("tcnn", config).cuda()
    assert native.native
    points = points_of_the_cube(5000).cuda()
    twin = TcnnTwin(config, torch.nn.Parameter(native.parameter.detach().clone()))
    torch.testing.assert_close(native(points), twin(points), atol=1e-3, rtol=1e-3)
    # Features of a thousandth of this size, as at the start of a training, are rounded as much.
    weights = torch.randn(len(points), config.num_features, device="cuda") / len(points)
    gradients = [
        torch.autograd.grad((table(points) * weights).sum(), table.parameters())[0] for table in (native, twin)
    ]
    torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-2)


@pytest.mark.gpu
def test_tiny_cuda_nn_differentiates_its_gradient() -> None:
    """The gradient with respect to positions trains the table, as the exact normals need."""
    pytest.importorskip("tinycudann")
    native = random_table("tcnn").cuda()
    twin = TcnnTwin(SMALL, torch.nn.Parameter(native.parameter.detach().clone()))
    gradients = []
    for table in (native, twin):
        points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)).cuda().requires_grad_(True)
        (slope,) = torch.autograd.grad(table(points).mean(dim=1).sum(), points, create_graph=True)
        gradients.append(torch.autograd.grad(slope.square().mean(), table.parameters())[0])
    torch.testing.assert_close(*gradients, atol=1e-3 * gradients[1].abs().max().item(), rtol=2e-2)
