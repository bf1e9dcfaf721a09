"""From the parameter names of published files to ours: one table for each family.

A table is a sequence of (pattern, replacement) pairs over whole names; the first pattern that
matches renames a key, a replacement of None drops it, and a key that none matches keeps its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

KeyMap = Sequence[tuple[str, str | None]]

#: Classifiers and what only they use.
CLASSIFIERS: KeyMap = ((r"(head|head_dist|aux_head|fc|classifier|pre_logits|fc_norm)\..*", None),)

#: zhoudaquan/dvit_repo: the mix is a 1×1 convolution, its BatchNorm is ``var_norm``.
DEEPVIT: KeyMap = (
    *CLASSIFIERS,
    (r"(blocks\.\d+\.attn)\.reatten_matrix\.(weight|bias)", r"\1.post_mix.\2"),
    (r"(blocks\.\d+\.attn)\.var_norm\.(.+)", r"\1.mix_norm.\2"),
)


def rename_keys(
    state: Mapping[str, Tensor], key_map: KeyMap
) -> tuple[dict[str, Tensor], list[str]]:
    """Rename the keys of a published state dict.

    Args:
        state: Names and tensors.
        key_map: The family's table.

    Returns:
        The renamed state dict, in which 1×1 convolutions over heads (H, H, 1, 1) have become
        (H, H) matrices, and the names that were dropped.
    """
    renamed, dropped = {}, []
    for key, value in state.items():
        new = _rename(key, key_map)
        if new is None:
            dropped.append(key)
        else:
            is_mix = new.endswith(("pre_mix.weight", "post_mix.weight"))
            renamed[new] = value.flatten(1) if is_mix else value
    return renamed, dropped


def _rename(key: str, key_map: KeyMap) -> str | None:
    for pattern, replacement in key_map:
        match = re.fullmatch(pattern, key)
        if match:
            return None if replacement is None else match.expand(replacement)
    return key


def summarize_keys(keys: Sequence[str]) -> str:
    """Write many parameter names as one line: numbered blocks are folded together.

    Example:
        >>> summarize_keys(['blocks.0.norm.bias', 'blocks.1.norm.bias', 'norm.bias'])
        'blocks.*.norm.bias (2), norm.bias'
    """
    counts: dict[str, int] = {}
    for key in keys:
        folded = re.sub(r"\.\d+\.", ".*.", key, count=1)
        counts[folded] = counts.get(folded, 0) + 1
    return ", ".join(f"{k} ({n})" if n > 1 else k for k, n in counts.items())
