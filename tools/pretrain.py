"""Run timm's training script with our classifiers registered: tools/pretrain.py train.py OPTIONS.

For example, with a checkout of huggingface/pytorch-image-models beside this one:
``torchrun --nproc_per_node=8 tools/pretrain.py ../pytorch-image-models/train.py --data-dir imagenet
--model deepvit_s``. Its validate.py and inference.py work alike.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from mmseg_deepvit.cli import run
from mmseg_deepvit.errors import UserError


def main() -> None:
    """Run the script as if it had been started itself."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        return
    import mmseg_deepvit.timm_models  # noqa: F401  (registers the models)

    script = Path(sys.argv[1])
    if not script.is_file():
        raise UserError(
            f"{script} does not exist: give the train.py of huggingface/pytorch-image-models"
        )
    sys.argv = sys.argv[1:]
    sys.path.insert(0, str(script.resolve().parent))
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    run(main)
