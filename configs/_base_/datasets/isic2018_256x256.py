# ISIC 2018 Task 1 in the protocol of models trained from scratch: 256², 4 images a batch. Published
# numbers of that protocol score a random part of the Training images; the first of five folds is
# --cfg-options train_dataloader.dataset.fold=0 train_dataloader.dataset.fold_part=train \
#     val_dataloader.dataset.part=Training val_dataloader.dataset.fold=0 \
#     val_dataloader.dataset.fold_part=val, and the same of test_dataloader.
_base_ = "./isic2018.py"
crop_size = (256, 256)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="Resize", scale=crop_size, keep_ratio=False),
    # Corners without image are black, and ignored.
    dict(type="RandomRotate", prob=0.5, degree=180),
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

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
