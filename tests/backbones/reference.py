"""DeepViT and DiversePatch ViT from the papers' equations, on weights in the published names."""

import torch
import torch.nn.functional as F

from ..attention.reference import attention_by_hand, batch_norm_by_hand


def published_state_dict(dims, depth, mixing, heads, mlp, patch, grid, stem, family="deepvit"):
    """Random weights as a published file names and shapes them, with its classifier.

    ``family`` is deepvit (zhoudaquan/dvit_repo) or diversepatch (PatchVisionTransformer).
    """
    generator = torch.Generator().manual_seed(0)

    def random(*shape, scale=0.3):
        return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)

    def batch_norm(name, width):
        return {
            f"{name}.weight": 1 + random(width),
            f"{name}.bias": random(width),
            f"{name}.running_mean": random(width),
            f"{name}.running_var": 1 + random(width).abs(),
            f"{name}.num_batches_tracked": torch.tensor(7),
        }

    state = {
        "cls_token": random(1, 1, dims),
        "pos_embed": random(1, 1 + grid[0] * grid[1], dims),
        "norm.weight": 1 + random(dims),
        "norm.bias": random(dims),
        "head.weight": random(10, dims),
        "head.bias": random(10),
        "patch_embed.proj.bias": random(dims),
    }
    if stem == "conv":
        state["patch_embed.conv1.weight"] = random(64, 3, 7, 7, scale=0.1)
        state["patch_embed.conv2.weight"] = random(64, 64, 3, 3, scale=0.05)
        state |= batch_norm("patch_embed.bn1", 64) | batch_norm("patch_embed.bn2", 64)
        state["patch_embed.proj.weight"] = random(dims, 64, patch // 2, patch // 2, scale=0.05)
    else:
        state["patch_embed.proj.weight"] = random(dims, 3, patch, patch, scale=0.1)
    for i in range(depth):
        name = f"blocks.{i}"
        for part, shape in {
            "attn.qkv": (3 * dims, dims),
            "attn.proj": (dims, dims),
            "mlp.fc1": (mlp * dims, dims),
            "mlp.fc2": (dims, mlp * dims),
        }.items():
            state[f"{name}.{part}.weight"] = random(*shape)
            state[f"{name}.{part}.bias"] = random(shape[0])
        for part in ("norm1", "norm2"):
            state[f"{name}.{part}.weight"] = 1 + random(dims)
            state[f"{name}.{part}.bias"] = random(dims)
        if i < depth - mixing:
            continue
        if family == "diversepatch":
            state[f"{name}.attn.proj_pre.weight"] = random(heads, heads)
            state[f"{name}.attn.proj_post.weight"] = random(heads, heads)
        else:
            state[f"{name}.attn.reatten_matrix.weight"] = random(heads, heads, 1, 1)
            state[f"{name}.attn.reatten_matrix.bias"] = random(heads)
            state |= batch_norm(f"{name}.attn.var_norm", heads)
    if family == "diversepatch":
        state |= {"patch_head.weight": random(10, dims), "patch_head.bias": random(10)}
    return state


class Reference:
    """The forward of a published model without its classifier, training mode or not."""

    def __init__(self, state, heads, patch, residual_scale, mix_scale, training):
        self.state = state
        self.heads = heads
        self.patch = patch
        self.a = residual_scale
        self.mix_scale = mix_scale
        self.training = training
        self.statistics = {}

    def batch_norm(self, name, x):
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        if self.training:
            out, mean, var = batch_norm_by_hand(x, weight, bias)
            self.statistics[name] = (mean.detach(), var.detach())
            return out
        mean, var = self.state[f"{name}.running_mean"], self.state[f"{name}.running_var"]
        scale = weight / torch.sqrt(var + 1e-5)
        return (x - mean[:, None, None]) * scale[:, None, None] + bias[:, None, None]

    def layer_norm(self, name, x):
        centred = x - x.mean(-1, keepdim=True)
        normal = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-6)
        return normal * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def linear(self, name, x):
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def embed(self, images):
        weight = self.state["patch_embed.proj.weight"]
        x, patch = images, self.patch
        if "patch_embed.conv1.weight" in self.state:
            for i, stride, pad in ((1, 2, 3), (2, 1, 1)):
                kernel = self.state[f"patch_embed.conv{i}.weight"]
                x = F.conv2d(x, kernel, stride=stride, padding=pad)
                x = self.batch_norm(f"patch_embed.bn{i}", x).clamp(min=0)
            patch //= 2
        b, c, h, w = x.shape
        tiles = x.reshape(b, c, h // patch, patch, w // patch, patch).permute(0, 2, 4, 1, 3, 5)
        tokens = tiles.reshape(b, -1, c * patch * patch) @ weight.flatten(1).T
        tokens = tokens + self.state["patch_embed.proj.bias"]
        cls_token = self.state["cls_token"].expand(b, -1, -1)
        return torch.cat([cls_token, tokens], 1) + self.state["pos_embed"]

    def attention(self, name, x):
        b, n, dims = x.shape
        width = dims // self.heads
        qkv = self.linear(f"{name}.qkv", x)
        q, k, v = (
            part.reshape(b, n, self.heads, width).transpose(1, 2) for part in qkv.split(dims, -1)
        )
        mix = {}
        if f"{name}.reatten_matrix.weight" in self.state:
            mix = {
                "post_weight": self.state[f"{name}.reatten_matrix.weight"][:, :, 0, 0],
                "post_bias": self.state[f"{name}.reatten_matrix.bias"],
                "norm": lambda maps: self.batch_norm(f"{name}.var_norm", maps),
                "mix_scale": self.mix_scale,
            }
        if f"{name}.proj_pre.weight" in self.state:
            mix = {
                "pre_weight": self.state[f"{name}.proj_pre.weight"],
                "post_weight": self.state[f"{name}.proj_post.weight"],
            }
        out = attention_by_hand(q, k, v, width**-0.5, **mix)
        return self.linear(f"{name}.proj", out.transpose(1, 2).reshape(b, n, dims))

    def mlp(self, name, x):
        hidden = self.linear(f"{name}.fc1", x)
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
        return self.linear(f"{name}.fc2", hidden)

    def __call__(self, images):
        """Patch tokens after the final norm, (B, h·w, C)."""
        x = self.embed(images)
        depth = 1 + max(int(k.split(".")[1]) for k in self.state if k.startswith("blocks."))
        for i in range(depth):
            name = f"blocks.{i}"
            x = (
                x
                + self.attention(f"{name}.attn", self.layer_norm(f"{name}.norm1", self.a * x))
                / self.a
            )
            x = x + self.mlp(f"{name}.mlp", self.layer_norm(f"{name}.norm2", self.a * x)) / self.a
        return self.layer_norm("norm", x)[:, 1:]
