"""PG, the generator of the perturbation."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idf.config import FilmPoisonerSettings, PoisonerSettings, UserError
from idf.networks.carriers import (
    COLOURS,
    carriers,
    messages,
    painted,
    random_key,
    same_frequency,
)
from idf.networks.layers import DoubleConv, with_label


class PoisonGenerator(nn.Module):
    """PG: a U-Net of double 3x3 convs, average pooling, bilinear upsampling; widths 64..1024.

    Ends in BatchNorm and tanh, so that |PG(x)| <= tau = 1 (Eq. 2). The last BatchNorm keeps the
    amplitude from collapsing. With affine=True (the authors' code) it has a scale and a shift of
    its own. Without, it also bounds the amplitude: of all inputs to tanh with variance 1, the
    constant +-1 has the largest output, so the mean square of PG(x) stays under tanh(1)^2 and
    eps .05 leaves a PSNR of at least 34.4 dB. align_corners: of the upsampling; the authors'
    code has True. domains: the channels of a label beside the image's (ConditionalPoisonGenerator).
    """

    def __init__(
        self,
        width: int = 64,
        levels: int = 5,
        affine: bool = True,
        align_corners: bool = True,
        domains: int = 0,
    ):
        super().__init__()
        widths = [width * 2**i for i in range(levels)]
        inputs = [3 + domains, *widths[:-1]]
        self.down = nn.ModuleList(DoubleConv(a, b) for a, b in zip(inputs, widths, strict=True))
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.up = nn.ModuleList(DoubleConv(a + b, a) for a, b in pairs)
        self.last = nn.Sequential(
            nn.Conv2d(width, 3, 1, bias=False), nn.BatchNorm2d(3, affine=affine), nn.Tanh()
        )
        self.align_corners = align_corners

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """x (B, 3, S, S) in [-1, 1] -> delta (B, 3, S, S) in [-1, 1]; S divides by 2^(levels-1).

        generator is of WaveGenerator's keys: here nothing is random.
        """
        skips = [self.down[0](x)]
        for block in self.down[1:]:
            skips.append(block(F.avg_pool2d(skips[-1], 2)))
        h = skips.pop()
        for block in reversed(self.up):
            h = F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=self.align_corners)
            h = block(torch.cat([skips.pop(), h], dim=1))
        return self.last(h)


class ConditionalPoisonGenerator(PoisonGenerator):
    """PG(x, c) of the paper's summary: the target label enters as it does in the editors.

    So each edit is poisoned for itself. The paper's own PG sees x alone.
    """

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """x (B, 3, S, S) in [-1, 1], c (B, K) of 0/1 -> delta (B, 3, S, S) in [-1, 1]."""
        return super().forward(with_label(x, c))


POWER = 0.63  # mean square of delta: a PSNR of 34 dB at eps .05
SLOWEST = 3  # half-periods along each axis: what an editor reads changes slowly
# Not all keys are as likely: of the first eight trainings with a code one chose stripes, and their
# colours lie about one axis (notebook 04). So less is spent on the rest.
STRIPES = 0.25  # of another frequency's power, where it is 0 along an axis
AXIS = (-1.0, 4.0, -3.0)  # green against blue and some red
ALONG_AXIS = 0.75  # of the power
# Six more trainings with the defender's faces, half as long as SM's, say where power is best put
# if it is to outlive a change of scale: all of their keys slant. So no stripes and no chessboard
# (whose lines have one phase only), nearly all along the axis of colour, the slowest five changes.
FOCUSED_ALONG_AXIS = 0.9


class WaveGenerator(nn.Module):
    """PG for an editor of unknown key: it shapes messages for a face, chance says who carries them.

    The waves are those in which an editor of such strides can hide a code; a message is how strong
    a wave is from place to place, a mixture of slow changes (`messages`), which PG chooses. Which
    of them a wave carries is drawn for every picture anew, by a random orthogonal matrix for each
    frequency, the key: so PG can bet on no editor's key, and whoever knows PG does not know the
    poison. Frequencies, phases and colours are as strong as trainings use them (STRIPES, AXIS). The
    mean square is that of a PSNR of 34 dB at eps .05. Not in the paper.

    keyed=False: always the same key. focused=True: its power goes where keys lie in most trainings
    (FOCUSED_ALONG_AXIS). Untrained, all slow changes are equally strong.
    """

    def __init__(
        self,
        width: int = 64,
        periods: tuple[int, ...] = (4,),
        keyed: bool = True,
        focused: bool = False,
    ):
        super().__init__()
        self.keyed = keyed
        self.branches = nn.ModuleList(WaveBranch(period, width, focused) for period in periods)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """x (B, 3, S, S) in [-1, 1] -> delta (B, 3, S, S) in [-1, 1]; S divides by the periods.

        generator: of the keys, by default torch's own.
        """
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            parts = []
            for branch in self.branches:
                key = branch.random_keys(len(x), generator) if self.keyed else branch.one_key()
                parts.append(at_power(branch(x, key.to(x.device)), 1))
            delta = (2 * sum(parts) / len(parts) ** 0.5).tanh()
            return at_power(delta, POWER).clamp(-1, 1)


class WaveBranch(nn.Module):
    """The waves of one period."""

    def __init__(self, period: int, width: int, focused: bool = False):
        super().__init__()
        self.period, self.focused = period, focused
        self.basis = carriers(period)
        self.powers = {waves: power_of(waves, period, focused) for waves in same_frequency(period)}
        if not any(self.powers.values()):
            raise UserError(f"No wave of period {period} px slants: use 4 px, or focused=false.")
        axis = COLOURS @ F.normalize(torch.tensor(AXIS), dim=0)
        onto = axis[:, None] * axis
        share = FOCUSED_ALONG_AXIS if focused else ALONG_AXIS
        along, across = (2 * share) ** 0.5, (2 - 2 * share) ** 0.5
        self.tint = along * onto + across * (torch.eye(2) - onto)
        count = len(self.changes(period))
        layers: list[nn.Module] = [nn.PixelUnshuffle(period)]
        for inputs in (3 * period**2, width, width, width):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True)]
        self.trunk = nn.Sequential(*layers)
        self.shape = nn.Conv2d(width, count, 1)
        nn.init.zeros_(self.shape.weight)
        nn.init.zeros_(self.shape.bias)
        self.any_face = nn.Parameter(torch.eye(count))  # to which a face adds

    def forward(self, x: Tensor, key: Tensor) -> Tensor:
        """x (B, 3, S, S), key (B, n, m) or (n, m) -> the image of the waves (B, 3, S, S)."""
        shape = self.shape(self.trunk(x))
        slow = self.changes(shape.shape[-1]).to(x.device)
        shaped = self.any_face + torch.einsum("bkhw,mhw->bkm", shape, slow)
        return painted(torch.einsum("bnm,mhw->bnhw", key @ shaped, slow), self.basis)

    def changes(self, side: int) -> Tensor:
        """What waves carry, (m, side, side)."""
        return messages(side, SLOWEST, together=self.focused)

    def random_keys(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Who carries what, (count, n, m); waves of one frequency never carry the same."""
        keys = torch.zeros(count, self.basis.shape[1], len(self.any_face))
        for waves, power in self.powers.items():
            key = random_key(keys.shape[2], generator, count)[:, : len(waves)]
            keys[:, waves] = key * (power / len(waves)) ** 0.5
        # the first half of the waves has one colour, the second the other
        halves = keys.unflatten(1, (2, -1))
        return torch.einsum("cd,bdnm->bcnm", self.tint, halves).flatten(1, 2)

    def one_key(self) -> Tensor:
        """A key that is always the same, (n, m)."""
        size = len(self.any_face)
        return torch.eye(size)[torch.arange(self.basis.shape[1]) % size]


def power_of(waves: tuple[int, ...], period: int, focused: bool) -> float:
    """The power of one frequency, of which `waves` are the columns of `carriers`, beside others."""
    stripes = 0 in divmod(waves[0] + 1, period)
    if focused:  # a chessboard has one phase only, and so half the waves of another frequency
        return 0.0 if stripes or len(waves) == 2 else 1.0
    return STRIPES if stripes else 1.0


def at_power(image: Tensor, power: float) -> Tensor:
    """Each image (B, 3, S, S) scaled to this mean square."""
    own = image.square().mean(dim=(1, 2, 3), keepdim=True)
    return image * (power / own.clamp(min=1e-12)).sqrt()


def make_poisoner(
    settings: PoisonerSettings | FilmPoisonerSettings,
) -> PoisonGenerator | WaveGenerator:
    """PG as config.poisoner says, its initial weights from torch's generator."""
    width = settings.width
    if isinstance(settings, PoisonerSettings) and settings.head == "Waves":
        return WaveGenerator(width, settings.periods, settings.keys > 0, settings.focused)
    return PoisonGenerator(width, settings.levels, settings.affine, settings.align_corners)


def make_conditional_poisoner(
    settings: PoisonerSettings, domains: int
) -> ConditionalPoisonGenerator:
    """PG(x, c) for so many domains, its initial weights from torch's generator."""
    shape = (settings.width, settings.levels, settings.affine, settings.align_corners)
    return ConditionalPoisonGenerator(*shape, domains)
