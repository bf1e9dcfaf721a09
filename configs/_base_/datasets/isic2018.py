# ISIC 2018 Task 1, skin lesions, as unzipped: training on the Training images, validation on the
# Validation images, scored at the masks' own size. (Recorded results are of another split:
# results/isic2018-split/README.md.) Images are squashed to 512², as what is seen of a lesion has no
# up and no fixed aspect; for training they are turned, mirrored, and enlarged by up to 1.5.
# train_dataloader.dataset.cache_images=True decodes each of the large photographs once; it
# takes 1 MiB an image.
dataset_type = "ISIC2018Dataset"
data_root = "data/isic2018"
crop_size = (512, 512)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="Resize", scale=crop_size, keep_ratio=False),
    # Corners without image are black, and ignored.
    dict(type="RandomRotate", prob=0.5, degree=180),
    dict(type="RandomResize", scale=crop_size, ratio_range=(1.0, 1.5), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="RandomFlip", prob=0.5, direction="vertical"),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=crop_size, keep_ratio=False),
    # After Resize: scores are computed at the mask's own size.
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="TestTimeAug",
        transforms=[
            [dict(type="Resize", scale=crop_size, keep_ratio=False)],
            [
                dict(type="RandomFlip", prob=0.0, direction="horizontal"),
                dict(type="RandomFlip", prob=1.0, direction="horizontal"),
                dict(type="RandomFlip", prob=1.0, direction="vertical"),
            ],
            [dict(type="LoadAnnotations")],
            [dict(type="PackSegInputs")],
        ],
    ),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        part="Training",
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        part="Validation",
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

# The challenge scores each image's lesion and averages; see PerImageMetric.
val_evaluator = [
    dict(type="IoUMetric", iou_metrics=["mIoU", "mDice"]),
    dict(type="PerImageMetric", classes=["lesion"]),
]
test_evaluator = val_evaluator
