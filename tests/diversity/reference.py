"""The losses of paper and published code, token by token, in float64."""

from itertools import pairwise

import torch


def cosine(tokens):
    total = torch.zeros((), dtype=torch.float64)
    for image in tokens.double():
        lengths = image.square().sum(-1).sqrt()
        similarity = (image @ image.T) / (lengths[:, None] * lengths)
        others = ~torch.eye(len(image), dtype=torch.bool)
        total = total + similarity[others].abs().mean()
    return total / len(tokens)


def contrastive(early, last, grid=None, temperature=None):
    """Paper's form; with a grid, the published code's; with a temperature, on unit vectors."""
    losses = []
    for a, b in zip(early.detach().double(), last.double(), strict=True):
        if temperature is not None:
            a, b = (tokens / tokens.norm(dim=-1, keepdim=True) for tokens in (a, b))
            a = a / temperature
        for i in range(len(a)):
            others = [j for j in range(len(a)) if j != i]
            negatives = [b[others].mean(0)]
            if grid is not None:
                negatives.append(_mean_of_neighbours(b, i, grid))
            positive = (a[i] @ b[i]).exp()
            probability = positive / (positive + sum((a[i] @ n).exp() for n in negatives))
            losses.append(-(probability + (0 if grid is None else 1e-8)).log())
    return torch.stack(losses).mean()


def _mean_of_neighbours(tokens, i, grid):
    """Mean of the 48 tokens around; tokens outside the grid are zero."""
    y, x = divmod(i, grid[1])
    total = torch.zeros_like(tokens[i])
    for v in range(y - 3, y + 4):
        for u in range(x - 3, x + 4):
            if 0 <= v < grid[0] and 0 <= u < grid[1] and (v, u) != (y, x):
                total = total + tokens[v * grid[1] + u]
    return total / 48


def region_mixing(tokens, regions, targets, classify):
    """Published form for classifiers: KL of the pooled tokens of a region, weighted by area."""
    total = torch.zeros((), dtype=torch.float64)
    for region, distributions in zip(regions, targets, strict=True):
        divergences = []
        for image, target in zip(tokens.double(), distributions, strict=True):
            logits = classify((image * region[:, None]).sum(0) / (region.double().sum() + 1e-4))
            probabilities = logits.exp() / logits.exp().sum()
            likely = target > 0  # 0 log 0 is 0
            ratios = target[likely].log() - (probabilities[likely] + 1e-8).log()
            divergences.append((target[likely] * ratios).sum())
        total = total + region.double().mean() * torch.stack(divergences).mean()
    return total


def head_cosine(maps):
    """DeepViT-32B's form: an entry of a map is a vector with one number for each head."""
    values = []
    for one, two in pairwise(maps):
        for b in range(len(one)):
            for i in range(one.shape[2]):
                for j in range(one.shape[3]):
                    u, v = one[b, :, i, j], two[b, :, i, j]
                    values.append(u @ v / (u.square().sum().sqrt() * v.square().sum().sqrt()))
    return torch.stack(values).mean()


def mixing(logits, targets):
    losses = [
        -(target * (row.exp() / row.exp().sum()).log()).sum()
        for row, target in zip(logits.double().flatten(0, 1), targets.flatten(0, 1), strict=True)
        if target.sum() > 0
    ]
    return torch.stack(losses).mean()


def class_mix(labels, patch, num_classes, ignore_index):
    """Shares of classes, (B, h·w, K), pixel by pixel."""
    batch, height, width = labels.shape
    grid = -(-height // patch[0]), -(-width // patch[1])
    counts = torch.zeros(batch, grid[0] * grid[1], num_classes, dtype=torch.float64)
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                label = int(labels[b, y, x])
                if label != ignore_index:
                    counts[b, y // patch[0] * grid[1] + x // patch[1], label] += 1
    return counts / counts.sum(-1, keepdim=True).clamp(min=1)
