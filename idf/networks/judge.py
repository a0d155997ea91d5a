"""The judge's network."""

from torch import Tensor, nn

from idf.networks.layers import DoubleConv


class Judge(nn.Module):
    """Which of the K attributes does a face show? A plain convolutional classifier."""

    def __init__(self, domains: int, width: int = 32):
        super().__init__()
        widths = [3, width, 2 * width, 4 * width, 8 * width]
        layers = []
        for inputs, outputs in zip(widths[:-1], widths[1:], strict=True):
            layers += [DoubleConv(inputs, outputs), nn.MaxPool2d(2)]
        self.main = nn.Sequential(*layers)
        # 2 x 2 cells keep where a thing is: hair above, mouth below
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(32 * width, domains)
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, S, S) in [-1, 1] -> logits (B, K)."""
        return self.head(self.main(x))
