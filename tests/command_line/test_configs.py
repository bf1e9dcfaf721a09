import pytest
from mmseg.models.decode_heads import FCNHead

from mmseg_deepvit.command_line import config_errors, load_config
from mmseg_deepvit.errors import UserError
from mmseg_deepvit.stack import find_stack


def test_config_errors_name_the_config():
    with pytest.raises(UserError, match=r"config c\.py: no such class"), config_errors("c.py"):
        raise KeyError("no such class")
    with pytest.raises(UserError, match=r"^plain$"), config_errors("c.py"):
        raise UserError("plain")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = dict(", "cannot be read .*SyntaxError|was never closed"),
        ("_base_ = 'nothing.py'", "cannot be read"),
        ("x = 1", "has no model"),
    ],
)
def test_configs_that_are_none(tmp_path, text, message):
    path = tmp_path / "c.py"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_config(str(path))
    with pytest.raises(UserError, match="does not exist"):
        load_config(str(tmp_path / "nowhere.py"))


@pytest.mark.parametrize("wrapped", [False, True])
def test_assertions_without_a_message_say_what_they_wanted(wrapped):
    """mmseg's linear head whose channels were left as they were."""

    def build():
        try:
            FCNHead(in_channels=96, channels=64, num_classes=2, num_convs=0, concat_input=False)
        except AssertionError as error:
            if not wrapped:
                raise
            # As OpenMMLab's registries do.
            raise AssertionError(f"class `FCNHead` in x.py: {error}") from error

    expected = (
        r"^config c\.py: FCNHead needs in_channels == channels, and the config gives "
        r"in_channels=96, channels=64: set them to fit \("
    )
    with pytest.raises(UserError, match=expected), config_errors("c.py"):
        build()


def test_bases_of_a_package_that_mmengine_does_not_find(tmp_path):
    """OneDL's distributions have other names than OpenMMLab's, which mmengine asks for."""
    if find_stack() != "onedl":
        pytest.skip("OpenMMLab's own packages are found")
    path = tmp_path / "c.py"
    for base, said in (
        ("mmseg::_base_/models/upernet_swin.py", r"name the file itself, /.*/upernet_swin\.py$"),
        ("mmseg::no/none.py", r"none\.py is looked for .*: copy that config next to it$"),
    ):
        path.write_text(f"_base_ = {base!r}\n")
        with pytest.raises(UserError, match=said):
            load_config(str(path))
    path.write_text("_base_ = 'mmseg::_base_/models/upernet_swin.py'\n")
    with pytest.raises(UserError) as caught:
        load_config(str(path))
    place = str(caught.value).rpartition(" ")[2]
    path.write_text(f"_base_ = {place!r}\n")
    assert load_config(str(path)).model.decode_head.type == "UPerHead"
