# All runs need this: registration, safe loading, hooks, environment, logs.
custom_imports = dict(
    imports=["mmseg_deepvit", "mmseg_deepvit.safe_loading.installed"], allow_failed_imports=False
)
default_scope = "mmseg"
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(
        type="AtomicCheckpointHook",
        by_epoch=False,
        interval=8000,
        max_keep_ckpts=3,
        save_best="mIoU",
        rule="greater",
    ),
    class_check=dict(type="ClassCheckHook"),
    weights_check=dict(type="WeightsCheckHook"),
    finite_check=dict(type="FiniteCheckHook"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    visualization=dict(type="SegVisualizationHook"),
)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
vis_backends = [dict(type="LocalVisBackend")]
visualizer = dict(type="SegLocalVisualizer", vis_backends=vis_backends, name="visualizer")
log_processor = dict(by_epoch=False)
log_level = "INFO"
load_from = None
resume = False
tta_model = dict(type="SegTTAModel")
