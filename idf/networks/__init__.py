"""The networks. Images are (B, 3, S, S) in [-1, 1], labels (B, K) of 0/1."""

from idf.networks.bisenet import BiSeNet
from idf.networks.critics import DomainDiscriminator, PatchDiscriminator
from idf.networks.editors import GENERATORS, CNet, Res, UNet128, make_generator
from idf.networks.judge import Judge
from idf.networks.layers import frozen
from idf.networks.pix2pix import PatchGAN, UNet256, normal_weights
from idf.networks.poisoner import (
    ConditionalPoisonGenerator,
    PoisonGenerator,
    WaveGenerator,
    make_conditional_poisoner,
    make_poisoner,
)

__all__ = [
    "GENERATORS",
    "BiSeNet",
    "CNet",
    "ConditionalPoisonGenerator",
    "DomainDiscriminator",
    "Judge",
    "PatchDiscriminator",
    "PatchGAN",
    "PoisonGenerator",
    "Res",
    "UNet128",
    "UNet256",
    "WaveGenerator",
    "frozen",
    "make_conditional_poisoner",
    "make_generator",
    "make_poisoner",
    "normal_weights",
]
