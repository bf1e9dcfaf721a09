# A linear head on folders of anyone's images. tools/new_config.py writes configs over it.
_base_ = ["../heads/linear.py", "../datasets/folders.py", "../default_runtime.py"]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
randomness = dict(seed=0)
