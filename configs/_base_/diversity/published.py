# The paper's three losses on patch tokens, between the first block and the last output; half of
# the batches mix images in rectangles of patches. model.diversity takes it.
diversity = dict(
    early="blocks.0",
    last=-1,
    cosine=1.0,
    contrastive=1.0,
    mixing=1.0,
    warmup_iters=1500,
    patch_mix=dict(patch_size=16, alpha=1.0, prob=0.5),
)
