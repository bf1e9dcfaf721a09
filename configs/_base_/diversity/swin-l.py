# published.py within Swin-L's third stage, the deep one: all its 18 blocks have one width and grid.
_base_ = "./published.py"
diversity = dict(
    early="stages.2.blocks.0", last="stages.2.blocks.17", patch_mix=dict(patch_size=32)
)
