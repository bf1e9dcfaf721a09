# CamVid road scenes at 360×480, 11 classes, as SegNet's authors gave them: label 11 is unlabelled
# and ignored. Crops of 352² from images of 0.5 to 2 times their size; validation on all pixels.
# The test images: --cfg-options test_dataloader.dataset.part=test
dataset_type = "CamVidDataset"
data_root = "data/camvid"
crop_size = (352, 352)
scale = (480, 360)
# Of the losses: 1/√share of each class in the training images' pixels, 1 in the mean over them.
class_weight = [0.88, 0.75, 3.63, 0.64, 1.7, 1.15, 3.32, 3.39, 1.49, 4.5, 6.66]

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=scale, ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=scale, keep_ratio=True),
    # After Resize: scores are computed at the annotation's own size.
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="TestTimeAug",
        transforms=[
            [
                dict(type="Resize", scale_factor=ratio, keep_ratio=True)
                for ratio in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
            ],
            [
                dict(type="RandomFlip", prob=0.0, direction="horizontal"),
                dict(type="RandomFlip", prob=1.0, direction="horizontal"),
            ],
            [dict(type="LoadAnnotations")],
            [dict(type="PackSegInputs")],
        ],
    ),
]

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(type=dataset_type, data_root=data_root, part="train", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type=dataset_type, data_root=data_root, part="val", pipeline=test_pipeline),
)
test_dataloader = val_dataloader

# The second one is for intervals: tools/run_study.py adds up its pixels of each image.
val_evaluator = [
    dict(type="IoUMetric", iou_metrics=["mIoU"]),
    dict(type="PerImageMetric", metrics=["Jaccard"]),
]
test_evaluator = val_evaluator
