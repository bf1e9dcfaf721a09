"""The losses as the paper writes them, pair by pair, in float64."""

import torch


def cosine(tokens):
    total = torch.zeros((), dtype=torch.float64)
    for image in tokens.double():
        lengths = image.square().sum(-1).sqrt()
        similarity = (image @ image.T) / (lengths[:, None] * lengths)
        others = ~torch.eye(len(image), dtype=torch.bool)
        total = total + similarity[others].abs().mean()
    return total / len(tokens)


def contrastive(early, last, grid=None):
    """The paper's; with a grid, the published code's, whose second negative is local."""
    losses = []
    for a, b in zip(early.detach().double(), last.double(), strict=True):
        for i in range(len(a)):
            others = [j for j in range(len(a)) if j != i]
            groups = [others]
            if grid is not None:
                y, x = divmod(i, grid[1])
                near = [(j, *divmod(j, grid[1])) for j in others]
                groups.append([j for j, v, u in near if abs(v - y) <= 3 and abs(u - x) <= 3])
            positive = (a[i] @ b[i]).exp()
            negatives = [(a[i] @ b[group].mean(0)).exp() for group in groups]
            losses.append(-(positive / (positive + sum(negatives))).log())
    return torch.stack(losses).mean()


def mixing(logits, targets):
    losses = [
        -(target * (row.exp() / row.exp().sum()).log()).sum()
        for row, target in zip(logits.double().flatten(0, 1), targets.flatten(0, 1), strict=True)
        if target.sum() > 0
    ]
    return torch.stack(losses).mean()


def class_mix(labels, patch, num_classes, ignore_index):
    """(B, h·w, K) shares, pixel by pixel."""
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
