# A linear head on ADE20K: 512², 160k iterations of 16 images.
_base_ = [
    "../heads/linear.py",
    "../datasets/ade20k.py",
    "../schedules/adamw_160k.py",
    "../default_runtime.py",
]
