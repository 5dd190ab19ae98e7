"""The pose prior in the viewer: cameras in the scene, values to try, flags, and a model that is left alone."""

from __future__ import annotations

import copy
import math
import shlex
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from opened_viewer import Client, OpenedViewer, connected, opened_viewer

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePrior, PosePriorConfig, poses_to_camera_to_world
from gan3d_ns.viewer.prior_panel import FLAG, MOST_CAMERAS, NUM_CAMERAS, flags, frustum_length, viser_pose, words

SCALE = 10.0


def test_the_flags_turn_one_prior_into_the_other() -> None:
    own = PosePriorConfig(yaw_spread_deg=17.2, elevation_mean_deg=5.0)
    tried = PosePriorConfig(yaw_spread_deg=40.0, elevation_mean_deg=-2.5)
    command = flags(own, tried)
    names, values = shlex.split(command)[::2], shlex.split(command)[1::2]
    assert names == [f"{FLAG}yaw-spread-deg", f"{FLAG}elevation-mean-deg"]
    applied = copy.copy(own)
    for name, value in zip(names, values, strict=True):
        setattr(applied, name.removeprefix(FLAG).replace("-", "_"), float(value))
    assert applied == tried
    assert flags(own, copy.copy(own)) == ""


@pytest.mark.parametrize("distribution", ["uniform", "gaussian", "truncated-gaussian", "hybrid", "spherical", "fixed"])
def test_there_are_words_for_every_distribution(distribution: str) -> None:
    config = PosePriorConfig(distribution=distribution)  # pyright: ignore
    assert "the run keeps its own" in words(config, "")
    assert "`" not in words(config, f"{FLAG}yaw-spread-deg 3")


def test_the_wide_end_of_a_frustum_lies_where_the_camera_stands() -> None:
    """In viser a camera looks along +z of its frame, and a frustum reaches as far from its tip as it is long."""
    import viser.transforms as vtf

    (matrix,) = poses_to_camera_to_world(torch.tensor([[1.2, 0.7]]))
    length = frustum_length(0.35, 12.0)
    wxyz, tip = viser_pose(matrix, SCALE, length)
    ahead = vtf.SO3(wxyz).as_matrix()[:, 2]
    np.testing.assert_allclose(tip + length * ahead, SCALE * matrix[:, 3].numpy(), atol=1e-5)
    np.testing.assert_allclose(ahead, -matrix[:, 3].numpy(), atol=1e-6)
    # A frustum of the scale and 90 degrees has the same volume: half width 1, length 1, times the scale over cbrt(1/3).
    volume = length * (length * math.tan(math.radians(6.0))) ** 2
    assert volume == pytest.approx(frustum_length(0.35, 90.0) ** 3)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenedViewer]:
    with opened_viewer(tmp_path_factory.mktemp("viewer")) as viewer:
        yield viewer


@pytest.fixture
def client(opened: OpenedViewer) -> Iterator[Client]:
    with connected(opened.port) as client:
        client.receive(1.5)
        yield client
        if client.entry("Back to the run's prior")["visible"]:
            client.set("Back to the run's prior", True)
        client.set("Show cameras", True)
        client.set("Cameras", NUM_CAMERAS)
        client.receive(1.5)


def until(client: Client, condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < end, what
        client.receive(0.2)


def shown_cameras(client: Client) -> list[dict]:
    """Cameras that can be seen, in the order of their names."""
    if not client.scene["/pose_prior"].get("visible", True):
        return []
    found = sorted((name, entry) for name, entry in client.scene.items() if name.startswith("/pose_prior/camera"))
    return [entry for _, entry in found if entry.get("visible", True)]


def yaws_deg(client: Client) -> np.ndarray:
    """Of the shown cameras; positive yaws stand towards -x."""
    positions = np.array([camera["position"] for camera in shown_cameras(client)])
    return np.degrees(np.arctan2(-positions[:, 0], positions[:, 2]))


def texts(client: Client) -> str:
    """What the folder says, its picture included."""
    folder = client.entry("Pose prior")["id"]
    return "\n".join(e.get("markdown", "") for e in client.panel.values() if e.get("container_id") == folder)


def test_the_cameras_are_draws_of_the_prior_outside_of_its_sphere(client: Client, opened: OpenedViewer) -> None:
    config = opened.model.config.pose_prior
    assert len(shown_cameras(client)) == NUM_CAMERAS
    assert np.abs(yaws_deg(client)).max() <= config.yaw_spread_deg + 1e-3
    assert np.abs(yaws_deg(client)).max() > config.yaw_spread_deg / 2
    for camera in shown_cameras(client):
        assert np.linalg.norm(camera["position"]) > SCALE * config.radius
        assert camera["fov"] == pytest.approx(math.radians(config.fov_deg))


def test_there_is_one_set_of_cameras_and_one_way_to_hide_it(client: Client) -> None:
    assert not [name for name in client.scene if name.startswith("/cameras")]
    assert not client.entry("Hide Train Cams")["visible"]
    assert not client.entry("Show Train Cams")["visible"]
    client.set("Show cameras", False)
    until(client, lambda: not shown_cameras(client), "cameras are hidden")
    client.set("Show cameras", True)
    until(client, lambda: len(shown_cameras(client)) == NUM_CAMERAS, "cameras are shown again")


@pytest.mark.parametrize("number", [0, 5, MOST_CAMERAS])
def test_their_number_is_chosen(client: Client, number: int) -> None:
    client.set("Cameras", number)
    until(client, lambda: len(shown_cameras(client)) == number, f"{number} cameras")


def test_cameras_come_back_in_another_colour(client: Client) -> None:
    """Those that were hidden when the colour changed."""
    client.set("Cameras", 5)
    until(client, lambda: len(shown_cameras(client)) == 5, "fewer cameras")
    client.set("Yaw mean", 20.0)
    until(client, lambda: len({camera["color"] for camera in shown_cameras(client)}) == 1, "one colour")
    client.set("Cameras", NUM_CAMERAS)
    until(client, lambda: len(shown_cameras(client)) == NUM_CAMERAS, "all cameras")
    until(client, lambda: len({camera["color"] for camera in shown_cameras(client)}) == 1, "one colour for all")


def test_other_draws(client: Client) -> None:
    before = yaws_deg(client)
    client.set("Draw others", True)
    until(client, lambda: not np.allclose(yaws_deg(client), before), "cameras moved")


def test_tried_values_change_the_pictures_but_not_the_model(client: Client, opened: OpenedViewer) -> None:
    config = opened.model.config.pose_prior
    trained, views = copy.deepcopy(config), opened.model.pose_prior.sample(4, torch.Generator().manual_seed(0))
    before = texts(client)
    colour = shown_cameras(client)[0]["color"]
    assert FLAG not in before
    client.set("Yaw mean", 90.0)
    client.set("Yaw spread", 5.0)
    command = (f"{FLAG}yaw-mean-deg 90", f"{FLAG}yaw-spread-deg 5")
    until(client, lambda: all(part in texts(client) for part in command), "the flags are shown")
    until(client, lambda: bool(np.all(np.abs(yaws_deg(client) - 90.0) <= 5.001)), "the cameras moved to the side")
    assert f"{FLAG}elevation" not in texts(client)
    assert shown_cameras(client)[0]["color"] != colour
    assert client.entry("Back to the run's prior")["visible"]
    assert opened.model.config.pose_prior == trained
    assert torch.equal(opened.model.pose_prior.sample(4, torch.Generator().manual_seed(0)), views)
    client.set("Back to the run's prior", True)
    until(client, lambda: texts(client) == before, "histogram and words are back")
    assert client.entry("Yaw mean")["value"] == 0
    assert not client.entry("Back to the run's prior")["visible"]


def test_an_impossible_prior_is_said_and_not_drawn(client: Client) -> None:
    client.set("Elev. spread", 60.0)
    client.set("Elev. mean", 60.0)
    until(client, lambda: "goes beyond the pole" in texts(client), "the problem is told")
    assert len(shown_cameras(client)) == NUM_CAMERAS


def test_a_prior_that_learns_is_shown_as_it_is(client: Client, opened: OpenedViewer, monkeypatch) -> None:
    """Anything that takes the place of the model's prior, with the next look of a training."""

    class Learnt(PosePrior):
        def sample(self, num, generator=None, device="cpu"):
            return super().sample(num, generator, device) + torch.tensor([0.0, math.radians(45.0)])

    before = texts(client)
    panel = opened.viewer.pipeline.prior_panel  # pyright: ignore
    panel.refresh()
    client.receive(0.5)
    assert texts(client) == before
    with monkeypatch.context() as patch:
        patch.setattr(opened.model.cameras, "drawn", Learnt(opened.model.config.pose_prior))
        panel.refresh()
        until(client, lambda: texts(client) != before, "another histogram")
        until(client, lambda: abs(yaws_deg(client).mean() - 45.0) < 15.0, "cameras follow")
    panel.refresh()
    until(client, lambda: texts(client) == before, "back to the prior")


@pytest.mark.parametrize("preset", ["carla", "graf-cub", "celeba"])
def test_every_prior_finds_its_place_on_the_sliders(preset: str) -> None:
    """The sliders' grid need not hold the run's numbers; unmoved they stand for them."""
    from gan3d_ns.viewer.prior_panel import LIMITS_DEG

    config = POSE_PRIOR_PRESETS[preset]
    for name, (_, low, high) in LIMITS_DEG.items():
        assert low <= round(getattr(config, name), 1) <= high


def test_without_a_viewer_nothing_happens() -> None:
    from gan3d_ns.viewer.prior_panel import PriorPanel

    def never() -> PosePrior:
        raise AssertionError("the prior was asked")

    PriorPanel(never).refresh()
