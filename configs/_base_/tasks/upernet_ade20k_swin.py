# UPerNet on ADE20K, first stage of DiversePatch's published recipe for Swin: 512², 160k iterations
# of 16 images, drop path 0.3. The published code adds no diversity loss in this training. All its
# values are here: scale (2048, 1024) in training, (2048, 512) in tests, AdamW, schedule, heads.
_base_ = [
    "../heads/upernet.py",
    "../datasets/ade20k_2048x1024.py",
    "../schedules/adamw_160k.py",
    "../default_runtime.py",
]
model = dict(
    type="SlidingEncoderDecoder",
    backbone=dict(drop_path_rate=0.3),
    test_cfg=dict(mode="whole"),
)
