"""The vision tower of dots.ocr in plain PyTorch: the mathematics and the names of the published weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

_ROTARY_BASE = 10000.0
_LAYER_NORM_EPS = 1e-6


class VisionTower(nn.Module):
    """Patches of a picture to features for the language model.

    Its weights' names are those below `vision_tower.` in the published files, but for `blocks.N.mlp`, whose
    `fc1` and `fc3` (the gate and what it lets through) are of the same make.
    """

    def __init__(
        self, *, embed_dim: int, heads: int, layers: int, intermediate: int, out: int, patch: int, eps: float
    ) -> None:
        super().__init__()
        self._rotary_dim = embed_dim // heads // 4
        self.patch_embed = nn.ModuleDict({"patchifier": _Patchifier(embed_dim, patch, eps)})
        self.blocks = nn.ModuleList(_Block(embed_dim, heads, intermediate, eps) for _ in range(layers))
        self.post_trunk_norm = nn.RMSNorm(embed_dim, eps)
        self.merger = _Merger(embed_dim, out)

    def trunk(self, patches: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Features of one picture's patches.

        Args:
            patches: FP32 [height * width, 3 * patch * patch], as Qwen2-VL's processor gives them: the four patches that
                are merged later stand together.
            height: patches from top to bottom, even.
            width: patches from left to right, even.

        Returns:
            FP32 [height * width / 4, 4 * embed_dim], normalised: what the merger's MLP takes.
        """
        angles = self._angles(height, width)
        features = self.patch_embed["patchifier"](patches)
        for block in self.blocks:
            features = block(features, angles)
        return self.merger.ln_q(self.post_trunk_norm(features)).view(height * width // 4, -1)

    def _angles(self, height: int, width: int) -> torch.Tensor:
        """Half of each head's rotary angles is of the patch's row, half of its column: [height * width, head / 2]."""
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        places = torch.stack([rows, columns], -1)
        merged = places.view(height // 2, 2, width // 2, 2, 2).transpose(1, 2).reshape(-1, 2, 1)
        frequencies = _ROTARY_BASE ** (-torch.arange(self._rotary_dim) / self._rotary_dim)
        return (merged * frequencies).flatten(1)


class _Patchifier(nn.Module):
    def __init__(self, embed_dim: int, patch: int, eps: float) -> None:
        super().__init__()
        self._shape = (-1, 3, patch, patch)
        self.proj = nn.Conv2d(3, embed_dim, patch, patch)
        self.norm = nn.RMSNorm(embed_dim, eps)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.norm(self.proj(patches.view(self._shape)).flatten(1))
        return features


class _Block(nn.Module):
    def __init__(self, embed_dim: int, heads: int, intermediate: int, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(embed_dim, eps)
        self.attn = _Attention(embed_dim, heads)
        self.norm2 = nn.RMSNorm(embed_dim, eps)
        self.mlp = _SwiGlu(embed_dim, intermediate)

    def forward(self, features: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
        features = features + self.attn(self.norm1(features), angles)
        changed: torch.Tensor = features + self.mlp(self.norm2(features))
        return changed


class _Attention(nn.Module):
    def __init__(self, embed_dim: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim, bias=False)
        self.proj = nn.Linear(embed_dim, embed_dim, bias=False)

    def forward(self, features: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
        query, key, value = self.qkv(features).unflatten(1, (3, self._heads, -1)).permute(1, 2, 0, 3)
        seen = functional.scaled_dot_product_attention(_rotated(query, angles), _rotated(key, angles), value)
        out: torch.Tensor = self.proj(seen.transpose(0, 1).flatten(1))
        return out


class _SwiGlu(nn.Module):
    def __init__(self, embed_dim: int, intermediate: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, intermediate, bias=False)
        self.fc2 = nn.Linear(intermediate, embed_dim, bias=False)
        self.fc3 = nn.Linear(embed_dim, intermediate, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.fc2(functional.silu(self.fc1(features)) * self.fc3(features))
        return out


class _Merger(nn.Module):
    """Four patches become one token of the language model."""

    def __init__(self, embed_dim: int, out: int) -> None:
        super().__init__()
        merged = 4 * embed_dim
        self.ln_q = nn.LayerNorm(embed_dim, _LAYER_NORM_EPS)
        self.mlp = nn.Sequential(nn.Linear(merged, merged), nn.GELU(), nn.Linear(merged, out))


def _rotated(heads: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    first, second = heads.chunk(2, -1)
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)


def make_smooth(tower: VisionTower) -> None:
    """Make the filters of the patches smooth, so that a picture that is moved by a few pixels looks much the same."""
    projection: Any = tower.patch_embed["patchifier"].proj
    coarse = torch.randn(*projection.weight.shape[:2], 3, 3)
    smooth = functional.interpolate(coarse, size=projection.weight.shape[2:], mode="bicubic")
    projection.weight.data = smooth / math.sqrt(smooth[0].numel())
