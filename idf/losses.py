"""Every loss of the paper and of the two forgeries, one pure function an equation.

Scalars come out in fp32 (fp64 from fp64 images). The forgeries of all target domains are stacked
along the batch, domain by domain, so that one pass serves all: `targets` is (J, B, K), `y` is
(J, B, 3, S, S). An Editor is a function of (x, c).
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Editor = Callable[[Tensor, Tensor], Tensor]


def at_least_fp32(t: Tensor) -> Tensor:
    """Half precision becomes fp32; fp32 and fp64 stay."""
    return t.to(torch.promote_types(t.dtype, torch.float32))


def infect(x: Tensor, delta: Tensor, eps: float) -> Tensor:
    """x' = clamp(x + eps * delta, -1, 1), Eq. 2; x in [-1, 1], delta = PG(x) in [-1, 1]."""
    return (x + eps * delta.to(x.dtype)).clamp(-1, 1)


# Labels and forgeries


def target_labels(c: Tensor, domains: tuple[str, ...], hair: tuple[str, ...]) -> Tensor:
    """All single-domain targets c_j of the labels c (B, K): (K, B, K). StarGAN's create_labels.

    A hair colour replaces the others, every other attribute is flipped.
    """
    colours = [i for i, name in enumerate(domains) if name in hair]
    targets = c.repeat(len(domains), 1, 1)
    for j in range(len(domains)):
        if j in colours:
            targets[j][:, colours] = 0
            targets[j][:, j] = 1
        else:
            targets[j][:, j] = 1 - c[:, j]
    return targets


def forge(editor: Editor, x: Tensor, targets: Tensor) -> Tensor:
    """y_j = M(x, c_j) for all j in one pass.

    x (B, 3, S, S) or (J, B, 3, S, S), targets (J, B, K) -> (J, B, 3, S, S).
    """
    if x.dim() == 4:
        x = x.expand(len(targets), *x.shape)
    return editor(x.flatten(0, 1), targets.flatten(0, 1)).unflatten(0, targets.shape[:2])


# Stage A: StarGAN (Choi et al. 2018)


def wasserstein(real: Tensor, fake: Tensor) -> Tensor:
    """E[D(fake)] - E[D(real)], to be minimised by a critic, from its scores (B, 1, s, s)."""
    return at_least_fp32(fake).mean() - at_least_fp32(real).mean()


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, alpha: Tensor
) -> Tensor:
    """E[(||grad D(x_hat)||_2 - 1)^2] at x_hat = alpha * real + (1 - alpha) * fake.

    Gulrajani et al. 2017; Eq. 5. alpha is (B, 1, 1, 1) in [0, 1]; real and fake carry no gradient.
    """
    x_hat = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(x_hat).sum(), x_hat, create_graph=True)
    return ((at_least_fp32(slope).flatten(1).norm(dim=1) - 1) ** 2).mean()


def critic_loss(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    alpha: Tensor,
    lambda_gp: float,
) -> Tensor:
    """WGAN-GP: E[D(fake)] - E[D(real)] + lambda_gp * penalty (Eq. 5 with its sign turned)."""
    scores_fake, scores_real = critic(fake), critic(real)
    penalty = gradient_penalty(critic, real, fake, alpha)
    return wasserstein(scores_real, scores_fake) + lambda_gp * penalty


def adversarial_loss(scores: Tensor) -> Tensor:
    """-E[D(fake)], to be minimised by whoever made the fakes (B, 1, s, s): SM, or PG in Eq. 5."""
    return -at_least_fp32(scores).mean()


def classification(logits: Tensor, c: Tensor) -> Tensor:
    """L_cls (StarGAN, Eq. 2, 3): BCE of logits with c (B, K), summed over domains, batch mean."""
    logits = at_least_fp32(logits)
    c = c.to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, c, reduction="sum") / len(logits)


def reconstruction_loss(x: Tensor, x_cycled: Tensor) -> Tensor:
    """L_rec (StarGAN, Eq. 4): mean |x - SM(SM(x, c_trg), c)|."""
    return at_least_fp32((x - x_cycled).abs()).mean()


def imitation_loss(answer: Tensor, y: Tensor) -> Tensor:
    """Mean |M(x, c) - SM(x, c)|, for a surrogate that learns M's answers to queries."""
    return reconstruction_loss(answer, y)


# Stage B: the influence of PG on the surrogate


def domain_weights(x: Tensor, y: Tensor, per_sample: bool = False) -> Tensor:
    """mu_j of Eq. 8: the share of mean |x - SM(x, c_j)|.

    y (J, B, 3, S, S) -> (J, 1), or (J, B) if per_sample; sums to 1 over j.
    """
    change = at_least_fp32(x - y).abs().flatten(2).mean(dim=2)
    if not per_sample:
        change = change.mean(dim=1, keepdim=True)
    # a surrogate that changes nothing yet gives every domain the same weight
    return (change + 1e-12) / (change + 1e-12).sum(dim=0, keepdim=True)


def weighted_l1(mu: Tensor, a: Tensor, b: Tensor, cap: float = 2.0) -> Tensor:
    """sum_j mu_j * mean |a_j - b_j|, averaged over the batch; a, b broadcast to (J, B, 3, S, S).

    cap: the most that a pair counts; images in [-1, 1] are never further than 2 apart.
    """
    distance = at_least_fp32(a - b).abs().flatten(2).mean(dim=2).clamp(max=cap)
    return (mu * distance).sum(dim=0).mean()


def basic_loss(mu: Tensor, y: Tensor, y_infected: Tensor, cap: float = 2.0) -> Tensor:
    """L_bs, Eq. 7: minus the weighted L1 between clean and infected forgeries."""
    return -weighted_l1(mu, y, y_infected, cap)


def cycle_loss(mu: Tensor, x_infected: Tensor, x_cycled: Tensor) -> Tensor:
    """L_cyc, Eq. 9: minus the weighted L1 between x' and SM(SM(x', c_j), c)."""
    return -weighted_l1(mu, x_infected, x_cycled)


def domain_loss(scores: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    """L_dom, Eq. 10: D_A's realness of y' plus BCE to the farthest domain c^r_j = 1 - c_j.

    scores (J*B, 1, s, s) and logits (J*B, K) are D_A's two heads on y' stacked domain by domain.
    """
    c_rev = 1 - targets.flatten(0, 1)
    return at_least_fp32(scores).mean() + classification(logits, c_rev)


def influence_loss(
    surrogate: Editor,
    critics: Sequence[Callable],
    x: Tensor,
    c: Tensor,
    x_infected: Tensor,
    targets: Tensor,
    weights: tuple[float, float, float] = (10.0, 2.5, 1.0),
    per_sample: bool = False,
    cap: float = 2.0,
) -> dict[str, Tensor]:
    """L_{A->B} of Eq. 6, to be minimised by PG: lambda_2 L_bs + lambda_3 L_cyc + lambda_4 L_dom.

    x, x_infected (B, 3, S, S); c (B, K); targets c_j (J, B, K); critics is [D_A]; of several
    the L_dom are averaged, without any it is 0. cap: of L_bs. Returns bs, cyc, dom, total and
    distance = D(y, y'), the plain mean L1. The clean forgeries carry no gradient: PG cannot move
    them.
    """
    with torch.no_grad():
        y = forge(surrogate, x, targets)
        mu = domain_weights(x, y, per_sample)
    y_infected = forge(surrogate, x_infected, targets)
    x_cycled = forge(surrogate, y_infected, c.expand_as(targets))

    loss_bs = basic_loss(mu, y, y_infected, cap)
    loss_cyc = cycle_loss(mu, x_infected, x_cycled)
    heads = [d_a(y_infected.flatten(0, 1)) for d_a in critics]
    loss_dom = sum(domain_loss(*head, targets) for head in heads) / max(len(heads), 1)

    lambda_bs, lambda_cyc, lambda_dom = weights
    return {
        "bs": loss_bs,
        "cyc": loss_cyc,
        "dom": loss_dom,
        "total": lambda_bs * loss_bs + lambda_cyc * loss_cyc + lambda_dom * loss_dom,
        "distance": at_least_fp32(y - y_infected).abs().mean().detach(),
    }


# Scenario 2: pix2pix (Isola et al. 2017) and the influence of PG on what it learns


def gan_loss(logits: Tensor, real: bool) -> Tensor:
    """The GAN term (pix2pix, Eq. 1): BCE of the patches' logits (B, 1, s, s) with real or not."""
    logits = at_least_fp32(logits)
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def masked_l1(y: Tensor, x: Tensor, mask: Tensor | float = 1.0) -> Tensor:
    """|| (y - x) m ||_1 as a mean; y, x (B, 3, S, S), m(x) (B, 1, S, S) of 1 and .01."""
    return (at_least_fp32(y - x).abs() * mask).mean()


def rounded_l1(y: Tensor, x: Tensor, beta: float) -> Tensor:
    """Mean |y - x|, below beta a parabola (PyTorch's smooth L1), so that its slope knows y - x."""
    return F.smooth_l1_loss(at_least_fp32(y), at_least_fp32(x), beta=beta)


def reenactment_influence(
    y: Tensor, y_infected: Tensor, x: Tensor, mask: Tensor | float = 1.0
) -> Tensor:
    """L_{A->B} of Eq. 11, to be minimised by PG: ||(SM(z) - x) m||_1 - ||(M'(z) - x) m||_1.

    y = SM(z) carries no gradient to PG; y_infected is taken on the temporary model.
    """
    return masked_l1(y, x, mask) - masked_l1(y_infected, x, mask)
