"""A small transformer that makes a vector of a caption."""

import math

import torch
from torch import Tensor, nn

MAX_HEADS = 4


class TextTower(nn.Module):
    """A small transformer over tokens, 0 being padding; the mean of its outputs is the text's."""

    def __init__(self, vocabulary: int, length: int, *, width: int, layers: int, features: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=0)
        self.positions = nn.Parameter(0.02 * torch.randn(length, width))
        heads = math.gcd(width, MAX_HEADS)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, features, bias=False)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """(B, features)."""
        padding = tokens_BL == 0
        encoded = self.encoder(self.embedding(tokens_BL) + self.positions, src_key_padding_mask=padding)
        kept = (~padding)[..., None]
        texts: Tensor = self.head((encoded * kept).sum(dim=1) / kept.sum(dim=1))
        return texts
