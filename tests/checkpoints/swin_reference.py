"""Swin Transformer from the paper's equations, on weights in the published names."""

import torch
import torch.nn.functional as F

DIMS, DEPTHS, HEADS, WINDOW, PATCH = 6, (2, 2, 2), (1, 2, 3), 3, 2


def window_index(window):
    """Published buffer: entry of the table for each pair of tokens, counted pair by pair."""
    places = [(row, column) for row in range(window) for column in range(window)]
    return torch.tensor(
        [
            [(r - s + window - 1) * (2 * window - 1) + c - d + window - 1 for s, d in places]
            for r, c in places
        ]
    )


def swin_state_dict(classifier):
    """Random weights as published: of an ImageNet classifier, or of a segmentor's backbone."""
    state = {}

    def norm(name, width):
        state[f"{name}.weight"] = 1 + 0.3 * torch.randn(width)
        state[f"{name}.bias"] = 0.3 * torch.randn(width)

    def linear(name, out, inner):
        state[f"{name}.weight"] = 0.4 * torch.randn(out, inner)
        state[f"{name}.bias"] = 0.3 * torch.randn(out)

    state["patch_embed.proj.weight"] = 0.3 * torch.randn(DIMS, 3, PATCH, PATCH)
    state["patch_embed.proj.bias"] = 0.3 * torch.randn(DIMS)
    norm("patch_embed.norm", DIMS)
    for i, (depth, heads) in enumerate(zip(DEPTHS, HEADS, strict=True)):
        dims = DIMS * 2**i
        for j in range(depth):
            name = f"layers.{i}.blocks.{j}"
            if classifier and j % 2:
                state[f"{name}.attn_mask"] = torch.zeros(4, WINDOW**2, WINDOW**2)
            norm(f"{name}.norm1", dims)
            table = 0.5 * torch.randn((2 * WINDOW - 1) ** 2, heads)
            state[f"{name}.attn.relative_position_bias_table"] = table
            state[f"{name}.attn.relative_position_index"] = window_index(WINDOW)
            linear(f"{name}.attn.qkv", 3 * dims, dims)
            linear(f"{name}.attn.proj", dims, dims)
            norm(f"{name}.norm2", dims)
            linear(f"{name}.mlp.fc1", 4 * dims, dims)
            linear(f"{name}.mlp.fc2", dims, 4 * dims)
        if i < len(DEPTHS) - 1:
            norm(f"layers.{i}.downsample.norm", 4 * dims)
            name = f"layers.{i}.downsample.reduction.weight"
            state[name] = 0.4 * torch.randn(2 * dims, 4 * dims)
        if not classifier:
            norm(f"norm{i}", dims)
    if classifier:
        norm("norm", dims)
        linear("head", 7, dims)
    return state


class SwinReference:
    """The forward: features of each stage, (B, h, w, C), before its patch merging."""

    def __init__(self, state):
        self.state = state

    def linear(self, name, x):
        out = x @ self.state[f"{name}.weight"].T
        return out + self.state[f"{name}.bias"] if f"{name}.bias" in self.state else out

    def norm(self, name, x):
        centred = x - x.mean(-1, keepdim=True)
        normal = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-5)
        return normal * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def window_attention(self, name, tokens, allowed, heads):
        """Attention among one window's tokens (B, N, C) where pairs are ``allowed`` (N, N)."""
        b, n, dims = tokens.shape
        width = dims // heads
        qkv = self.linear(f"{name}.qkv", tokens).reshape(b, n, 3, heads, width)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        table = self.state[f"{name}.relative_position_bias_table"]
        logits = q @ k.transpose(-1, -2) * width**-0.5
        logits = logits + table[window_index(WINDOW)].permute(2, 0, 1)
        maps = logits.masked_fill(~allowed, -torch.inf).softmax(-1)
        return self.linear(f"{name}.proj", (maps @ v).transpose(1, 2).reshape(b, n, dims))

    def attention(self, name, x, shift, heads):
        """Windows of a shifted, wrapped grid; parts that met by wrapping are kept apart."""
        b, h, w, dims = x.shape
        x = F.pad(x, (0, 0, 0, -w % WINDOW, 0, -h % WINDOW))
        height, width = x.shape[1:3]
        side = torch.arange(height) + shift >= height, torch.arange(width) + shift >= width
        wrapped = 2 * side[0][:, None].int() + side[1][None, :].int()
        if not shift:
            wrapped = torch.zeros_like(wrapped)
        x = x.roll((-shift, -shift), (1, 2))
        out = torch.empty_like(x)
        for top in range(0, height, WINDOW):
            for left in range(0, width, WINDOW):
                part = (slice(None), slice(top, top + WINDOW), slice(left, left + WINDOW))
                region = wrapped[part[1:]].flatten()
                allowed = region[:, None] == region[None, :]
                tokens = x[part].reshape(b, WINDOW**2, dims)
                done = self.window_attention(name, tokens, allowed, heads)
                out[part] = done.reshape(b, WINDOW, WINDOW, dims)
        return out.roll((shift, shift), (1, 2))[:, :h, :w]

    def merge(self, name, x):
        """2×2 neighbours side by side: upper left, lower left, upper right, lower right."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        parts = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.linear(f"{name}.reduction", self.norm(f"{name}.norm", torch.cat(parts, -1)))

    def __call__(self, images):
        b, c, h, w = images.shape
        tiles = images.reshape(b, c, h // PATCH, PATCH, w // PATCH, PATCH)
        tiles = tiles.permute(0, 2, 4, 1, 3, 5).flatten(3)
        x = tiles @ self.state["patch_embed.proj.weight"].flatten(1).T
        x = self.norm("patch_embed.norm", x + self.state["patch_embed.proj.bias"])
        features = []
        for i, (depth, heads) in enumerate(zip(DEPTHS, HEADS, strict=True)):
            for j in range(depth):
                name = f"layers.{i}.blocks.{j}"
                shift = WINDOW // 2 if j % 2 else 0
                attended = self.attention(
                    f"{name}.attn", self.norm(f"{name}.norm1", x), shift, heads
                )
                x = x + attended
                hidden = self.linear(f"{name}.mlp.fc1", self.norm(f"{name}.norm2", x))
                hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
                x = x + self.linear(f"{name}.mlp.fc2", hidden)
            features.append(x)
            if i < len(DEPTHS) - 1:
                x = self.merge(f"layers.{i}.downsample", x)
        return features
