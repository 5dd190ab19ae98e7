import math

import pytest
import torch
from torch.testing import assert_close

from gan3d_ns.discriminators.progressive import ProgressiveDiscriminatorConfig, convert_released_state
from gan3d_ns.model_components.losses import (
    full_precision,
    neighbour_points,
    non_saturating_discriminator_loss,
    non_saturating_generator_loss,
    normal_smoothness,
    opacity_prior,
    pose_loss,
    r1_penalty,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
    top_k_indices,
)


def close(actual, expected):
    assert_close(actual, expected, atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def reference(load_fixture):
    return load_fixture("gof_losses")


@pytest.fixture(scope="module")
def discriminator(load_fixture):
    released = load_fixture("gof_discriminator_weights")
    released = {name.removeprefix("weights/"): tensor for name, tensor in released.items()}
    network = ProgressiveDiscriminatorConfig(resolution=32).setup()
    network.load_state_dict(convert_released_state(released, 32))
    return network


@pytest.mark.parametrize(("label", "fade"), [("alpha10", 1.0), ("alpha03", 0.3)])
def test_adversarial_losses_match_the_original(reference, discriminator, label, fade):
    real = reference["real"].requires_grad_()
    score_real = discriminator(real, fade).score
    with torch.no_grad():
        fake = discriminator(reference["fake"], fade)
    close(score_real[:, None], reference[f"{label}_score_real"])
    close(
        non_saturating_discriminator_loss(score_real, fake.score),
        reference[f"{label}_loss_d_fake"] + reference[f"{label}_loss_d_real"],
    )
    close(non_saturating_generator_loss(fake.score), reference[f"{label}_loss_g"])
    close(
        non_saturating_generator_loss(fake.score[top_k_indices(fake.score, 0.6)]), reference[f"{label}_loss_g_topk06"]
    )
    close(15 * pose_loss(fake.pose, reference["pose_true"]), reference[f"{label}_loss_position"])
    penalty = r1_penalty(score_real, real)
    close(penalty, reference[f"{label}_r1_penalty"])
    (second_order,) = torch.autograd.grad(penalty, discriminator.head.weight)
    close(second_order[0, ::40, 0, 0], reference[f"{label}_r1_grad_wrt_final_layer"])


@pytest.mark.parametrize(("label", "fade"), [("alpha10", 1.0), ("alpha03", 0.3)])
def test_losses_of_pigan_match_the_original(load_fixture, label, fade):
    """Scores, penalty and pose of its CCS discriminator; the weights of R1 are those of CelebA and of CARLA."""
    reference = load_fixture("pigan_losses")
    weights = load_fixture("pigan_ccsencoder_discriminator_weights")
    released = {name.removeprefix("weights/"): tensor for name, tensor in weights.items()}
    network = ProgressiveDiscriminatorConfig(resolution=32, architecture="ccs").setup()
    network.load_state_dict(convert_released_state(released, 32, "ccs"))
    real = reference["real"].requires_grad_()
    score_real = network(real, fade).score
    with torch.no_grad():
        fake = network(reference["fake"], fade)
    close(
        non_saturating_discriminator_loss(score_real, fake.score),
        reference[f"{label}_loss_d_fake"] + reference[f"{label}_loss_d_real"],
    )
    close(non_saturating_generator_loss(fake.score), reference[f"{label}_loss_g"])
    close(15 * pose_loss(fake.pose, reference["pose_true"]), reference[f"{label}_loss_position"])
    close((fake.latent - reference["z_true"]).square().mean(), reference[f"{label}_mse_latent"])
    penalty = r1_penalty(score_real, real)
    close(0.2 * penalty, reference[f"{label}_r1_penalty_lambda02"])
    close(10.0 * penalty, reference[f"{label}_r1_penalty_lambda10"])


def test_r1_of_a_linear_score_is_half_its_squared_weights():
    weight = torch.randn(3, 4, 4, requires_grad=True)
    images = torch.randn(5, 3, 4, 4, requires_grad=True)
    penalty = r1_penalty((images * weight).sum(dim=(1, 2, 3)), images)
    assert_close(penalty, weight.square().sum() / 2)
    (gradient,) = torch.autograd.grad(penalty, weight)
    assert_close(gradient, weight)


def test_r1_stays_in_float32_under_autocast():
    layer = torch.nn.Linear(48, 1)
    images = torch.randn(4, 3, 4, 4, requires_grad=True)

    def penalty():
        with full_precision(images):
            return r1_penalty(layer(images.flatten(1)).sin()[:, 0], images)

    plain = penalty()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = penalty()
    assert mixed.dtype == torch.float32
    assert torch.equal(plain, mixed)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_priors_leave_half_precision(dtype):
    logits = (torch.randn(100) * 5).to(dtype)
    normals = torch.nn.functional.normalize(torch.randn(10, 3), dim=-1).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(opacity_prior(logits), opacity_prior(logits.float()))
        loss = normal_smoothness(normals, normals.flip(0), torch.ones(10, dtype=torch.bool))
    assert loss.dtype == torch.float32


@pytest.mark.parametrize(
    ("fraction", "batch", "kept"), [(1.0, 4, 4), (0.6, 4, 3), (0.6, 5, 3), (0.99, 8, 8), (0.7, 10, 7), (0.01, 4, 1)]
)
def test_top_k_keeps_the_best_and_rounds_up(fraction, batch, kept):
    scores = torch.randn(batch)
    assert_close(scores[top_k_indices(scores, fraction)], scores.sort(descending=True).values[:kept])


def test_top_k_gives_the_rest_no_gradient():
    scores = torch.tensor([0.0, 3.0, -1.0, 2.0], requires_grad=True)
    non_saturating_generator_loss(scores[top_k_indices(scores, 0.5)]).backward()
    assert torch.equal(scores.grad != 0, torch.tensor([False, True, False, True]))


def test_relativistic_losses_oppose_each_other():
    fake, real = torch.randn(6), torch.randn(6)
    assert_close(relativistic_generator_loss(fake, real), relativistic_discriminator_loss(real, fake))
    assert_close(relativistic_discriminator_loss(fake, fake), torch.tensor(math.log(2)))
    shifted = relativistic_discriminator_loss(fake + 5, real + 5)
    assert_close(shifted, relativistic_discriminator_loss(fake, real))
    assert relativistic_discriminator_loss(fake, fake + 9) < 1e-3 < relativistic_generator_loss(fake, fake + 9)


def test_periodic_pose_loss_goes_the_short_way_round():
    poses = torch.tensor([[1.0, math.pi / 2 - math.pi]])
    estimate = torch.tensor([[1.0, math.pi / 2 + math.pi - 0.2]])
    assert_close(pose_loss(estimate, poses, periodic=True), torch.tensor(0.02), atol=1e-5, rtol=0)
    assert pose_loss(estimate, poses) > 10
    assert_close(pose_loss(poses + 0.3, poses), pose_loss(poses + 0.3, poses, periodic=True))


def test_opacity_prior_matches_the_intended_formula(load_fixture, reference):
    logits = load_fixture("gof_render")["d006_fine_rgb_logit"][..., 3]
    close(opacity_prior(logits), reference["opacity_prior_intended"])
    occupancies = reference["prior_test_occupancy"]
    for occupancy, value in zip(occupancies, reference["prior_test_value"], strict=True):
        close(opacity_prior(torch.logit(occupancy)[None]), value)


def test_opacity_prior_is_zero_where_decided_and_largest_at_one_half():
    assert_close(opacity_prior(torch.tensor([-50.0, 50.0])), torch.tensor(0.0), atol=1e-6, rtol=0)
    assert_close(opacity_prior(torch.zeros(1)), torch.tensor(2 * math.log(0.6) - math.log(0.11)))
    logits = torch.tensor([0.5, -0.5], requires_grad=True)
    opacity_prior(logits).backward()
    assert logits.grad[0] < 0 < logits.grad[1]


@pytest.mark.parametrize("label", ["h0001", "h001"])
def test_normal_smoothness_matches_the_intended_formula(load_fixture, reference, label):
    hit = load_fixture("gof_render")["hit_mask"] > 0.5
    loss = normal_smoothness(reference["normal_surface"], reference[f"{label}_normal_neighbour"], hit)
    assert_close(loss, reference[f"{label}_normal_loss_intended"], atol=1e-6, rtol=1e-4)


def test_normal_smoothness_ignores_misses_and_is_zero_without_hits():
    normals = torch.full((4, 3), float("nan"))
    normals[1] = torch.tensor([1.0, 0.0, 0.0])
    neighbours = torch.zeros(4, 3).requires_grad_()
    hit = torch.tensor([False, True, False, False])
    assert_close(normal_smoothness(normals, neighbours, hit), torch.tensor(1 / 3))
    nothing = normal_smoothness(normals, neighbours, torch.zeros(4, dtype=torch.bool))
    nothing.backward()
    assert nothing == 0
    assert torch.equal(neighbours.grad, torch.zeros(4, 3))


def test_neighbours_stand_at_the_distance(reference):
    points = reference["surface_points"]
    neighbours = neighbour_points(points, 0.01, torch.Generator().manual_seed(0))
    assert_close((neighbours - points).norm(dim=-1), torch.full(points.shape[:-1], 0.01), atol=1e-6, rtol=0)
    assert_close((neighbours - points).mean(dim=(0, 1)) / 0.01, torch.zeros(3), atol=0.15, rtol=0)
