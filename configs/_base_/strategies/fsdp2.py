# Parameters, gradients and optimiser states shared out over all processes, block by block.
runner_type = "FlexibleRunner"
strategy = dict(type="FSDP2Strategy")
