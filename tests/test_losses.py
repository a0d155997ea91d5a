"""Every equation against numbers by hand, its gradient against finite differences in float64."""

import math

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from idf import losses

F64 = torch.float64


def images(*values, dtype=torch.float32):
    """One flat 3 x 2 x 2 image per value; nested lists give leading dimensions."""
    flat = torch.tensor(values, dtype=dtype)
    return flat[..., None, None, None].expand(*flat.shape, 3, 2, 2).clone()


def shift(x, c):
    """An editor that adds .1 * (k + 1) for every attribute k of c."""
    steps = 0.1 * torch.arange(1, c.shape[1] + 1, dtype=x.dtype)
    return x + (c.to(x.dtype) @ steps)[:, None, None, None]


def random64(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=F64) * 1.6 - 0.8


def test_infect_adds_eps_delta_and_clamps():
    x, delta = images(0.5, 0.99, -0.98), images(1.0, 1.0, -1.0)
    assert_close(losses.infect(x, delta, 0.05), images(0.55, 1.0, -1.0))


def test_target_labels_make_hair_exclusive_and_flip_the_rest():
    domains = ("Black_Hair", "Smiling", "Blond_Hair", "Young")
    hair = ("Black_Hair", "Blond_Hair", "Grey")
    c = torch.tensor([[1.0, 0, 0, 1], [0, 1, 1, 0]])
    expected = torch.tensor(
        [
            [[1.0, 0, 0, 1], [1, 1, 0, 0]],  # black hair
            [[1, 1, 0, 1], [0, 0, 1, 0]],  # smile flipped
            [[0, 0, 1, 1], [0, 1, 1, 0]],  # blond hair
            [[1, 0, 0, 0], [0, 1, 1, 1]],  # age flipped
        ]
    )
    assert_close(losses.target_labels(c, domains, hair), expected)
    assert c.tolist() == [[1, 0, 0, 1], [0, 1, 1, 0]]


def test_forge_is_domain_by_domain_for_one_or_many_images():
    x, targets = random64(2, 3, 4, 4), torch.eye(3)[:, None].expand(3, 2, 3)
    one_by_one = torch.stack([shift(x, c_j) for c_j in targets])
    assert_close(losses.forge(shift, x, targets), one_by_one)
    twice = torch.stack([shift(y, c_j) for y, c_j in zip(one_by_one, targets, strict=True)])
    assert_close(losses.forge(shift, one_by_one, targets), twice)


def test_gradient_penalty_of_a_linear_critic():
    w = torch.zeros(3, 2, 2)
    w[0, 0, 0], w[2, 1, 1] = 3.0, 4.0  # the slope is w everywhere, of length 5
    real, fake = images(0.1, 0.2), images(0.3, -0.4)
    penalty = losses.gradient_penalty(
        lambda x: (x * w).sum((1, 2, 3)), real, fake, torch.rand(2, 1, 1, 1)
    )
    assert_close(penalty, torch.tensor(16.0))  # (5 - 1)^2


def test_gradient_penalty_is_taken_between_real_and_fake():
    # D(x) = sum x^2 / 2 has slope x; x_hat = .25 * 0 + .75 * 1 in 12 numbers: .75 * sqrt(12) long
    alpha = torch.full((1, 1, 1, 1), 0.25)
    penalty = losses.gradient_penalty(
        lambda x: x.square().sum((1, 2, 3)) / 2, images(0.0), images(1.0), alpha
    )
    assert penalty.item() == pytest.approx((0.75 * math.sqrt(12) - 1) ** 2)


def test_gradient_penalty_reaches_the_critics_weights():
    real, fake = random64(2, 3, 2, 2), random64(2, 3, 2, 2, seed=1)
    alpha = torch.rand(2, 1, 1, 1, dtype=F64)

    def penalty(w):
        return losses.gradient_penalty(
            lambda x: torch.tanh(x.flatten(1) @ w).sum(1), real, fake, alpha
        )

    w = random64(12, 3, seed=2).requires_grad_()
    assert penalty(w).dtype == F64
    assert gradcheck(penalty, w)  # itself a second derivative
    assert gradgradcheck(penalty, w)


def test_classification_sums_over_domains_and_averages_over_the_batch():
    logits = torch.tensor([[0.0, 0.0], [math.log(3), -math.log(3)]])
    c = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    # -ln of the probabilities 1/2, 1/2, 3/4 and 1/4
    expected = (math.log(2) + math.log(2) + math.log(4 / 3) + math.log(4)) / 2
    assert losses.classification(logits, c).item() == pytest.approx(expected, rel=1e-6)
    assert gradcheck(lambda z: losses.classification(z, c), random64(2, 2).requires_grad_())


def test_domain_weights_are_shares_of_the_change():
    x = images(0.0, 0.0)
    # domain 0 changes the two images by .1 and .3, domain 1 by .6 and .2
    y = images([0.1, 0.3], [0.6, 0.2])
    assert_close(losses.domain_weights(x, y), torch.tensor([[1 / 3], [2 / 3]]))
    assert_close(
        losses.domain_weights(x, y, per_sample=True), torch.tensor([[1 / 7, 0.6], [6 / 7, 0.4]])
    )


@pytest.mark.parametrize("per_sample", [False, True])
def test_domain_weights_sum_to_one_and_are_equal_without_change(per_sample):
    x, y = random64(4, 3, 2, 2), random64(5, 4, 3, 2, 2, seed=1)
    assert_close(
        losses.domain_weights(x, y, per_sample).sum(0),
        torch.ones(4 if per_sample else 1, dtype=F64),
    )
    still = losses.domain_weights(x, x.expand(5, -1, -1, -1, -1), per_sample)
    assert_close(still, torch.full_like(still, 0.2))


def test_basic_and_cycle_loss_are_minus_the_weighted_l1():
    a, b = images([0.0, 0.0], [0.5, 0.5]), images([0.1, 0.3], [0.5, 0.1])
    mu = torch.tensor([[0.25], [0.75]])
    expected = torch.tensor(-(0.25 * (0.1 + 0.3) / 2 + 0.75 * (0.0 + 0.4) / 2))
    assert_close(losses.basic_loss(mu, a, b), expected)
    assert_close(losses.cycle_loss(mu, a, b), expected)
    per_sample = torch.tensor([[0.5, 0.0], [0.5, 1.0]])
    assert_close(losses.basic_loss(per_sample, a, b), torch.tensor(-(0.5 * 0.1 + 1.0 * 0.4) / 2))
    x_infected = images(0.0, 0.0)  # of (B, ...), not (J, B, ...)
    expected = torch.tensor(-(0.25 * 0.2 + 0.75 * 0.3))
    assert_close(losses.cycle_loss(mu, x_infected, b), expected)


def test_domain_loss_wants_unreal_faces_of_the_farthest_domain():
    scores = torch.tensor([1.0, 2.0, 3.0, 6.0]).view(4, 1, 1, 1)  # two domains of two images
    logits = torch.zeros(4, 2)
    logits[0] = torch.tensor([math.log(3), -math.log(3)])
    targets = torch.tensor([[[1.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]]])
    # the first pair's farthest domain is (0, 1): -ln 1/4 - ln 1/4; the others cost 2 ln 2 each
    expected = 3.0 + (2 * math.log(4) + 6 * math.log(2)) / 4
    assert losses.domain_loss(scores, logits, targets).item() == pytest.approx(expected, rel=1e-6)


def flat_critic(x):
    """Realness 2 * mean(x), and two undecided logits."""
    return 2 * x.mean((1, 2, 3), keepdim=True), x.new_zeros(len(x), 2)


def test_influence_loss_by_hand():
    x, x_infected = images(0.0), images(0.05)
    c, targets = torch.tensor([[1.0, 0.0]]), torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]]])

    def editor(x, c):  # doubles, then shifts by .1 and .3
        return shift(2 * x, c)

    terms = losses.influence_loss(
        editor, [flat_critic], x, c, x_infected, targets, weights=(10.0, 2.5, 1.0)
    )
    # y is .1 and .3, so mu is 1/4 and 3/4; y' is .2 and .4, .1 from y; back at c it is .5 and .9
    bs, cyc = -0.1, -(0.25 * (0.5 - 0.05) + 0.75 * (0.9 - 0.05))
    dom = (2 * 0.2 + 2 * 0.4) / 2 + 2 * math.log(2)
    hand = {"bs": bs, "cyc": cyc, "dom": dom, "total": 10 * bs + 2.5 * cyc + dom, "distance": 0.1}
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(hand, abs=1e-6)


def test_influence_loss_averages_its_critics():
    x, c = random64(2, 3, 2, 2), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    targets = torch.stack([c, 1 - c])

    def other_critic(x):
        return x.square().mean((1, 2, 3), keepdim=True), x.flatten(1)[:, :2]

    def total(*critics):
        return losses.influence_loss(shift, critics, x, c, x + 0.05, targets)["total"]

    assert_close(2 * total(flat_critic, other_critic), total(flat_critic) + total(other_critic))


def test_clean_forgeries_carry_no_gradient():
    x = random64(2, 3, 2, 2).requires_grad_()
    x_infected = (x.detach() + 0.05).requires_grad_()
    c = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    targets = torch.stack([c, 1 - c])
    terms = losses.influence_loss(shift, [flat_critic], x, c, x_infected, targets)
    to_x, to_infected = torch.autograd.grad(terms["total"], [x, x_infected], allow_unused=True)
    assert to_x is None and to_infected.abs().sum() > 0


@pytest.mark.parametrize("per_sample", [False, True])
def test_influence_loss_gradient(per_sample):
    x, c = random64(2, 3, 2, 2), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    targets = torch.stack([1 - c, torch.ones_like(c)])
    weight = random64(12, 2, seed=5)

    def editor(x, c):
        return torch.tanh(1.7 * shift(x, c))

    def critic(x):
        return x.square().mean((1, 2, 3), keepdim=True), x.flatten(1) @ weight

    def total(x_infected):
        return losses.influence_loss(
            editor, [critic], x, c, x_infected, targets, per_sample=per_sample
        )["total"]

    x_infected = (x + 0.2 * random64(2, 3, 2, 2, seed=6)).requires_grad_()
    assert total(x_infected).dtype == F64
    assert gradcheck(total, x_infected)


def test_adversarial_and_critic_loss_by_hand():
    real, fake, alpha = images(0.5, 0.1), images(0.2, 0.0), torch.rand(2, 1, 1, 1)

    def critic(x):
        return x.sum((1, 2, 3))  # of slope 1 in 12 numbers

    assert losses.adversarial_loss(critic(fake)).item() == pytest.approx(-1.2)  # -(2.4 + 0) / 2
    gap = losses.wasserstein(real=critic(real), fake=critic(fake)).item()
    assert gap == pytest.approx(1.2 - 3.6)
    expected = gap + 10 * (math.sqrt(12) - 1) ** 2
    loss = losses.critic_loss(critic, real, fake, alpha, 10.0)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_adversarial_and_critic_loss_gradients():
    w, alpha = random64(12, 3, seed=2).requires_grad_(), torch.rand(2, 1, 1, 1, dtype=F64)
    real, fake = random64(2, 3, 2, 2), random64(2, 3, 2, 2, seed=1)

    def critic_loss(w):
        return losses.critic_loss(lambda x: torch.tanh(x.flatten(1) @ w), real, fake, alpha, 10.0)

    def adversarial_loss(fake):
        return losses.adversarial_loss(torch.tanh(fake.flatten(1) @ w.detach()))

    assert gradcheck(critic_loss, w)
    assert gradcheck(adversarial_loss, fake.clone().requires_grad_())


def test_reconstruction_is_the_mean_l1():
    x, x_cycled = images(0.5, 0.1), images(0.2, 0.2)
    assert losses.reconstruction_loss(x, x_cycled).item() == pytest.approx((0.3 + 0.1) / 2)


# Scenario 2


def test_gan_loss_by_hand():
    assert losses.gan_loss(torch.zeros(1, 1, 2, 2), True).item() == pytest.approx(math.log(2))
    sure = torch.full((1, 1, 2, 2), 2.0)
    assert losses.gan_loss(sure, False).item() == pytest.approx(math.log(1 + math.exp(2)))


def test_rounded_l1_is_a_parabola_below_beta():
    y, x = images(0.05, 0.5), images(0.0, 0.0)
    expected = (0.05**2 / (2 * 0.1) + (0.5 - 0.1 / 2)) / 2
    assert losses.rounded_l1(y, x, 0.1).item() == pytest.approx(expected)


def test_the_mask_weighs_eq_11():
    x, y, y_infected = images(0.0), images(0.1), images(0.3)
    mask = torch.tensor([[[[1.0, 0.01], [0.01, 0.01]]]])
    plain = losses.reenactment_influence(y, y_infected, x).item()
    weighed = losses.reenactment_influence(y, y_infected, x, mask).item()
    assert plain == pytest.approx(0.1 - 0.3)
    assert weighed == pytest.approx((0.1 - 0.3) * 1.03 / 4)


def test_half_precision_becomes_fp32():
    x, c = images(0.1, 0.2).bfloat16(), torch.ones(2, 2)
    terms = losses.influence_loss(shift, [flat_critic], x, c, x + 0.05, torch.stack([c, 1 - c]))
    assert {term.dtype for term in terms.values()} == {torch.float32}
    x_cycled, mu = images(0.2, 0.3).bfloat16(), torch.tensor([[1.0]])
    assert losses.reconstruction_loss(x, x_cycled).dtype == torch.float32
    assert losses.weighted_l1(mu, x[None], x_cycled[None]).dtype == torch.float32
    assert losses.at_least_fp32(x.double()).dtype == F64
