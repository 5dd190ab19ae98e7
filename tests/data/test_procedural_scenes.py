"""The built-in scenes: what they say about their objects is true of their pictures."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from ray_hits import first_hits
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePrior, poses_from_degrees
from gan3d_ns.data.built_in import built_in_folder
from gan3d_ns.data.image_collection import ImageCollectionConfig
from gan3d_ns.data.procedural import procedural_collection_folder
from gan3d_ns.data.procedural_primitives import (
    PALETTE,
    PLANE_HEIGHT,
    SOLIDS,
    PlacedPrimitive,
    Primitive,
    PrimitiveScene,
    Solid,
)
from gan3d_ns.data.procedural_rendering import KEY_LIGHT
from gan3d_ns.data.procedural_scene_rendering import LIGHT_RADIUS, light_share, render_scene_colours, see_scene
from gan3d_ns.data.procedural_scene_sampling import LARGEST_NUMBER, sample_scene
from gan3d_ns.data.procedural_scenes import (
    SCENES_REACH,
    SceneTruth,
    scene_collection_folder,
    write_scene_collection,
)
from gan3d_ns.data.true_collection import TRUTH_FILE, TrueCollection
from gan3d_ns.data.truth_folders import open_truth
from gan3d_ns.errors import UserError

PRIOR = PosePrior(POSE_PRIOR_PRESETS["scenes"])


def one_of(solid: Solid, rotation: float = 0.7) -> Primitive:
    return Primitive(solid, "red", "matte", 0.07, (0.05, -0.03), rotation)


def ground(num: int, reach: float = 0.35) -> torch.Tensor:
    x, z = torch.meshgrid(torch.linspace(-reach, reach, num), torch.linspace(-reach, reach, num), indexing="ij")
    return torch.stack([x.flatten(), torch.full((num * num,), PLANE_HEIGHT), z.flatten()], dim=-1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scene_collection_folder(tmp_path_factory.mktemp("cache"), num_images=6, resolution=32)


@pytest.fixture(scope="module")
def truth(folder: Path) -> SceneTruth:
    return SceneTruth(folder)


@pytest.mark.parametrize("solid", SOLIDS)
def test_distance_is_exact(solid: Solid) -> None:
    """Towards the surface along the gradient, the distance leads onto the surface."""
    one = PlacedPrimitive(one_of(solid))
    points = (torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)) - 0.5) * 0.3
    distance = one.sdf(points)
    outside = points[distance > 1e-3].double().requires_grad_()
    (gradient,) = torch.autograd.grad(one.sdf(outside).sum(), outside)
    torch.testing.assert_close(gradient.norm(dim=-1), torch.ones(len(outside), dtype=torch.float64))
    landed = outside - one.sdf(outside)[:, None] * gradient
    assert one.sdf(landed).abs().max() < 1e-8
    first, second = points[:2000], points[2000:]
    assert ((distance[:2000] - distance[2000:]).abs() <= (first - second).norm(dim=-1) + 1e-6).all()
    # The bounds hold it, and not much else.
    inside = points[distance < 0]
    assert 0.8 * one.bounding_radius < inside.norm(dim=-1).max() <= one.bounding_radius
    assert one.sdf(torch.zeros(1, 3)).item() == pytest.approx(-one.primitive.half_height)


@pytest.mark.parametrize("solid", SOLIDS)
def test_normals_are_the_gradient(solid: Solid) -> None:
    scene = PrimitiveScene([one_of(solid)])
    start = torch.randn(500, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    points = torch.tensor(scene.primitives[0].centre, dtype=torch.float64) + 0.05 * start
    one = scene.objects[0]
    one.centre, one.axes = one.centre.double(), one.axes.double()

    def gradient(where: torch.Tensor) -> torch.Tensor:
        steps = 1e-6 * torch.eye(3, dtype=torch.float64)
        return torch.stack([(scene.sdf(where + step) - scene.sdf(where - step)) / 2e-6 for step in steps], dim=-1)

    points = points[scene.sdf(points) > 1e-3]
    surface = points - scene.sdf(points)[:, None] * gradient(points)
    normals = one.normals(one.to_own(surface)) @ one.axes.T
    torch.testing.assert_close(normals, gradient(surface), atol=1e-4, rtol=0)


def test_cubes_turn_counter_clockwise_seen_from_above() -> None:
    cube = dataclasses.replace(one_of("cube"), place=(0.0, 0.0), rotation=math.pi / 12)
    scene, straight = PrimitiveScene([cube]), PrimitiveScene([dataclasses.replace(cube, rotation=0.0)])
    angle = math.pi / 12
    points = torch.rand(200, 3) * 0.2 - 0.1
    # Seen from above x points right and z down, so that counter-clockwise takes +x towards -z.
    turn = torch.tensor([[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]])
    torch.testing.assert_close(scene.sdf(points @ turn.T), straight.sdf(points), atol=1e-6, rtol=0)
    assert not torch.allclose(scene.sdf(points @ turn), straight.sdf(points), atol=1e-3)


@pytest.mark.parametrize("seed", range(15))
def test_objects_stand_on_the_plane_and_keep_apart(seed: int) -> None:
    objects = sample_scene(seed, 2, LARGEST_NUMBER)
    scene = PrimitiveScene(objects)
    assert scene.bounding_radius <= SCENES_REACH
    below = ground(60)
    assert scene.sdf(below - torch.tensor([0.0, 1e-4, 0.0])).min() > 0
    for one in objects:
        foot = torch.tensor([[one.place[0], PLANE_HEIGHT, one.place[1]]])
        assert PrimitiveScene([one]).sdf(foot).abs().item() < 1e-6
    points = (torch.rand(20000, 3, generator=torch.Generator().manual_seed(seed)) - 0.5) * 0.6
    inside = scene.distances(points) < 0.005
    assert inside.any(dim=1).all()
    assert inside.sum(dim=0).max() == 1


def test_seeds_are_repeatable_and_all_kinds_are_met() -> None:
    pose = PRIOR.mean_pose()
    pictures = [render_scene_colours(PrimitiveScene(sample_scene(seed)), PRIOR, pose, 16, 2) for seed in range(5)]
    assert torch.equal(pictures[3], render_scene_colours(PrimitiveScene(sample_scene(3)), PRIOR, pose, 16, 2))
    for first, second in itertools.combinations(pictures, 2):
        assert (first - second).abs().mean() > 0.01
    scenes = [sample_scene(seed) for seed in range(200)]
    assert {len(scene) for scene in scenes} == {2, 3, 4}
    objects = [one for scene in scenes for one in scene]
    assert {(one.solid, one.colour) for one in objects} == set(itertools.product(SOLIDS, PALETTE))
    assert {one.material for one in objects} == {"matte", "shiny"}


@pytest.mark.parametrize("seed", range(4))
def test_depth_is_the_first_crossing(seed: int) -> None:
    scene, pose = PrimitiveScene(sample_scene(seed)), PRIOR.sample(4, torch.Generator().manual_seed(2))[seed]
    seen = see_scene(scene, PRIOR, pose, 40)
    rays = PRIOR.rays(pose[None], 40)
    origins, directions = rays.origins[0], rays.directions[0]
    depth, instance, normals = seen.depth.flatten(), seen.instance.flatten(), seen.normals.view(-1, 3)
    met = depth < PRIOR.config.far
    points = origins + depth[:, None] * directions
    on_object, on_plane = instance >= 0, met & (instance < 0)
    assert on_object.any() and on_plane.any()
    assert scene.sdf(points[on_object]).abs().max() < 3e-6
    assert torch.equal(scene.nearest(points[on_object]), instance[on_object])
    assert (points[on_plane][:, 1] - PLANE_HEIGHT).abs().max() < 1e-5
    torch.testing.assert_close(normals[met].norm(dim=-1), torch.ones(int(met.sum())))
    assert ((normals * directions)[met].sum(dim=-1) < 1e-3).all()
    assert (normals[~met] == 0).all()
    # Slow reference: nothing is met before.
    for fraction in torch.linspace(0.0, 0.999, 100):
        before = origins + (fraction * depth)[:, None] * directions
        assert scene.sdf(before).min() > -1e-5
        assert before[:, 1].min() > PLANE_HEIGHT - 1e-5


def test_centres_project_into_masks_and_no_object_is_cut() -> None:
    poses = PRIOR.sample(40, torch.Generator().manual_seed(3))
    for seed, pose in enumerate(poses):
        for one in sample_scene(seed):
            instance = see_scene(PrimitiveScene([one]), PRIOR, pose, 33).instance
            camera = PRIOR.cameras(pose[None], 33)
            matrix = camera.camera_to_worlds[0]
            across, up, backward = (torch.tensor(one.centre) - matrix[:, 3]) @ matrix[:, :3]
            column = camera.cx[0, 0] + camera.fx[0, 0] * across / -backward
            row = camera.cy[0, 0] - camera.fy[0, 0] * up / -backward
            assert instance[int(row), int(column)] == 0
            assert (instance[[0, -1]] < 0).all()
            assert (instance[:, [0, -1]] < 0).all()


@pytest.mark.parametrize("solid", SOLIDS)
def test_light_share_is_the_visible_part_of_the_light(solid: Solid) -> None:
    """Slow reference: rays towards points all over the light, within its cone."""
    scene = PrimitiveScene([one_of(solid)])
    points = ground(24, 0.2)
    points = points[scene.sdf(points) > 2e-3]
    share = light_share(scene, points, torch.tensor([0.0, 1.0, 0.0]).expand_as(points))
    light = torch.nn.functional.normalize(torch.tensor(KEY_LIGHT), dim=0)
    right = torch.nn.functional.normalize(torch.linalg.cross(light, torch.tensor([0.0, 1.0, 0.0])), dim=0)
    up = torch.linalg.cross(right, light)
    radius = torch.sqrt((torch.arange(150) + 0.5) / 150) * math.tan(LIGHT_RADIUS)
    angle = torch.arange(150) * math.pi * (3 - math.sqrt(5))
    rays = light + radius[:, None] * (angle.cos()[:, None] * right + angle.sin()[:, None] * up)
    rays = torch.nn.functional.normalize(rays, dim=-1)
    along = torch.linspace(1e-3, 0.4, 200)
    seen = torch.stack(
        [(scene.sdf((point + along[:, None, None] * rays).view(-1, 3)).view(200, 150) > 0).all(0) for point in points]
    )
    reference = seen.float().mean(dim=1)
    assert reference.min() < 0.1
    assert (share - reference).abs().mean() < 0.02
    assert (share - reference).abs().max() < 0.25


def test_shadows_and_contacts_darken_the_plane() -> None:
    pose = PRIOR.mean_pose()
    scene = PrimitiveScene([one_of("sphere")])
    empty = render_scene_colours(PrimitiveScene([]), PRIOR, pose, 32, 2)
    full = render_scene_colours(scene, PRIOR, pose, 32, 2)
    object_pixels = torch.nn.functional.max_pool2d(
        (see_scene(scene, PRIOR, pose, 32).instance >= 0)[None].float(), 3, 1, 1
    )
    beside = object_pixels[0] == 0
    darker = (empty - full).mean(dim=0)[beside]
    assert darker.min() > -1e-6
    assert darker.max() > 0.1
    # Pale and grey all over where there is no object.
    assert empty.min() > 0.4
    assert (empty.amax(dim=0) - empty.amin(dim=0)).max() < 0.06


def test_shiny_objects_have_a_highlight() -> None:
    pose, matte = PRIOR.mean_pose(), one_of("sphere")
    pictures = [
        render_scene_colours(PrimitiveScene([dataclasses.replace(matte, material=material)]), PRIOR, pose, 48, 2)
        for material in ("matte", "shiny")
    ]
    # Red has little green, except where the light is mirrored.
    mask = see_scene(PrimitiveScene([matte]), PRIOR, pose, 48).instance >= 0
    inner = torch.nn.functional.max_pool2d((~mask)[None].float(), 3, 1, 1)[0] == 0
    assert pictures[0][1, inner].max() < 0.3
    assert pictures[1][1, inner].max() > 0.6


def test_the_folder_is_a_collection_with_truth(folder: Path, truth: SceneTruth) -> None:
    assert isinstance(truth, TrueCollection)
    assert isinstance(open_truth(folder), SceneTruth)
    assert len(ImageCollectionConfig().setup(source=folder, resolution=32)) == len(truth) == truth.num_objects == 6
    for file in sorted(folder.glob("*.png")):
        index = truth.index_of(file)
        view = truth.view(index, 32)
        pixels = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255.0
        torch.testing.assert_close(view.rgb, pixels, atol=0.51 / 255, rtol=0)
        assert truth.objects(index) == sample_scene(truth.seeds[index])
        assert torch.equal(view.mask, truth.mask(index))
        masks = truth.object_masks(index)
        assert masks.shape == (len(truth.objects(index)), 32, 32)
        assert torch.equal(masks.any(dim=0), view.mask)
        assert masks.sum(dim=0).max() == 1
        stored = torch.from_numpy(truth.stored_instances[index].astype(np.int64)) - 1
        assert (stored == truth.instances(index)).float().mean() > 0.995
        assert torch.equal(truth.depth(index), view.depth)
        matrix = truth.camera(index).camera_to_worlds
        torch.testing.assert_close(matrix, truth.prior.camera_to_world(truth.pose(index)[None]))


def test_plain_numpy_reads_the_objects(folder: Path, truth: SceneTruth) -> None:
    with np.load(folder / TRUTH_FILE, allow_pickle=False) as arrays:
        for index, count in enumerate(arrays["numbers_of_objects"]):
            objects = truth.objects(index)
            assert count == len(objects)
            assert list(arrays["solids"][index, :count]) == [one.solid for one in objects]
            np.testing.assert_allclose(arrays["positions"][index, :count], [one.centre for one in objects])
            np.testing.assert_allclose(arrays["rgb"][index, :count], [PALETTE[one.colour] for one in objects])
            assert np.isnan(arrays["sizes"][index, count:]).all()


def test_a_view_may_be_from_any_pose(truth: SceneTruth) -> None:
    turned = truth.pose(0) + torch.tensor([0.0, 1.0])
    assert not torch.equal(truth.view(0, 16, turned).depth, truth.view(0, 16).depth)
    assert torch.equal(truth.view(0, 16, truth.pose(0)).rgb, truth.view(0, 16).rgb)


def test_objects_can_be_taken_away_and_moved(truth: SceneTruth) -> None:
    full, masks = truth.view(1, 32), truth.object_masks(1)
    gone = truth.without(1, 0, 32)
    assert not torch.equal(gone.rgb, full.rgb)
    # Behind it there is something, further away; nothing else is elsewhere.
    assert (gone.depth[masks[0]] > full.depth[masks[0]]).all()
    torch.testing.assert_close(gone.depth[~masks[0]], full.depth[~masks[0]])
    moved = dataclasses.replace(truth.objects(1)[0], place=(0.9, -0.9))
    away = truth.rearranged(1, {0: moved}, 32)
    torch.testing.assert_close(away.depth[masks[0]], gone.depth[masks[0]])
    nothing = truth.rearranged(1, dict.fromkeys(range(len(truth.objects(1)))), 32)
    assert not nothing.mask.any()


def test_mesh_is_the_surface_of_the_objects(truth: SceneTruth) -> None:
    mesh, objects = truth.mesh(2), truth.objects(2)
    assert truth.scene(2).sdf(mesh.vertices).abs().max() < 1e-3
    edges = mesh.faces[:, :2].numpy()
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(mesh.vertices),) * 2)
    assert connected_components(graph)[0] == len(objects)
    view, rays = truth.view(2, 40), truth.prior.rays(truth.pose(2)[None], 40)
    distances, normals = first_hits(mesh, rays.origins[0], rays.directions[0])
    both = view.mask.flatten() & distances.isfinite()
    assert (view.mask.flatten() == distances.isfinite()).float().mean() > 0.99
    assert (view.depth.flatten() - distances)[both].abs().median() < 1e-4
    assert (view.normals.view(-1, 3) * normals)[both].sum(dim=-1).median() > 0.999


def test_the_built_in_scenes_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gan3d_ns.data import procedural_scenes

    monkeypatch.setenv("GAN3D_CACHE", str(tmp_path))
    folder = built_in_folder("scenes", num_images=2)
    monkeypatch.setattr(procedural_scenes, "render_scene_colours", None)
    assert built_in_folder("scenes", num_images=2) == folder
    assert SceneTruth(folder).resolution == 64
    assert folder != built_in_folder("toy-cars", num_images=2)


def test_refusals(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UserError, match="is not a collection of scenes"):
        SceneTruth(tmp_path)
    with pytest.raises(UserError, match="is not a collection of scenes"):
        SceneTruth(procedural_collection_folder(tmp_path / "cars", num_images=2, resolution=8))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="GAN3D_CACHE"):
        scene_collection_folder(tmp_path / "file", num_images=2, resolution=8)
    for numbers in ((0, 2), (3, 2), (2, LARGEST_NUMBER + 1)):
        with pytest.raises(UserError, match=f"scenes of {numbers[0]} to {numbers[1]} objects cannot be made"):
            write_scene_collection(tmp_path, 2, 8, 0, numbers)
    low = dataclasses.replace(PRIOR.config, elevation_mean_deg=5.0)
    with pytest.raises(UserError, match=r"elevation of .* degrees, but scenes are seen from 5 degrees"):
        write_scene_collection(tmp_path, 20, 8, 0, law=low)
    with np.load(folder / TRUTH_FILE) as stored:
        arrays = {**stored, "version": np.int64(99)}
    (tmp_path / "newer").mkdir()
    np.savez(tmp_path / "newer" / TRUTH_FILE, **arrays)
    with pytest.raises(UserError, match="was made by version 99 of the procedural scenes"):
        SceneTruth(tmp_path / "newer")


def test_cameras_of_another_law_may_go_all_around(tmp_path: Path) -> None:
    law = dataclasses.replace(PRIOR.config, yaw_spread_deg=180.0)
    write_scene_collection(tmp_path, 12, 8, 0, (1, 1), law)
    truth = SceneTruth(tmp_path)
    assert truth.prior.config == law
    assert truth.poses[:, 1].max() - truth.poses[:, 1].min() > 4
    assert {len(truth.objects(index)) for index in range(12)} == {1}
    behind = poses_from_degrees(torch.tensor(180.0), torch.tensor(30.0))
    assert not torch.equal(truth.view(0, 16, behind).rgb, truth.view(0, 16).rgb)
