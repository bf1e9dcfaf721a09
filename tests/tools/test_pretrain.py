from .conftest import assert_one_line, run_tool

SCRIPT = """
import argparse, timm, torch
import beside_the_script

parser = argparse.ArgumentParser()
parser.add_argument("--model")
args = parser.parse_args()
model = timm.create_model(args.model, num_classes=3, num_layers=1, img_size=32)
print(__name__, beside_the_script.WORD, tuple(model(torch.zeros(1, 3, 32, 32)).shape))
"""


def test_runs_a_script_with_our_models_in_timm(tmp_path):
    (tmp_path / "beside_the_script.py").write_text("WORD = 'found'\n")
    (tmp_path / "train.py").write_text(SCRIPT)
    result = run_tool("tools/pretrain.py", tmp_path / "train.py", "--model", "diversepatch_t")
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.splitlines()[-1] == "__main__ found (1, 3)"


def test_a_script_that_is_not_there(tmp_path):
    result = run_tool("tools/pretrain.py", tmp_path / "train.py")
    assert_one_line(result, "train.py does not exist", "pytorch-image-models")
