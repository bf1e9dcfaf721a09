import subprocess
import sys

import pytest

from mmseg_deepvit.datasets.subsets import Fold

NAMES = [f"ISIC_{i:07d}" for i in range(53)]
#: Written down once: folds must not change between versions and machines.
FOLD_OF_TEN = ["ISIC_0000002", "ISIC_0000009"]


def test_folds_do_not_change_between_versions():
    assert Fold(0, 5, "val", 0).choose(NAMES[:10]) == FOLD_OF_TEN


def test_order_of_the_files_and_the_hash_seed_do_not_matter():
    expected = Fold(1, 5, "val", 3).choose(NAMES)
    assert Fold(1, 5, "val", 3).choose(NAMES[::-1]) == expected
    code = (
        "from mmseg_deepvit.datasets.subsets import Fold\n"
        f"print(','.join(Fold(1, 5, 'val', 3).choose(list(set({NAMES})))))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "1", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.splitlines()[-1].split(",") == expected


@pytest.mark.parametrize("count", [2, 5, 53])
def test_folds_are_disjoint_complete_and_even(count):
    held_out = [Fold(i, count, "val", 0).choose(NAMES) for i in range(count)]
    assert sorted(name for fold in held_out for name in fold) == NAMES
    assert max(map(len, held_out)) - min(map(len, held_out)) <= 1
    for i, fold in enumerate(held_out):
        assert sorted(fold + Fold(i, count, "train", 0).choose(NAMES)) == NAMES


def test_seeds_differ():
    assert Fold(0, 5, "val", 0).choose(NAMES) != Fold(0, 5, "val", 1).choose(NAMES)
