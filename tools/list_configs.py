"""Write configs/README.md, the page of all configs, and configs/metafile.yml from their headers."""

from __future__ import annotations

from pathlib import Path

from mmseg_deepvit import command_line as cli
from mmseg_deepvit.files import replacing

if not cli.only_help():
    from mmseg_deepvit.command_line.config_headers import metafile_of_configs, page_of_configs

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def main() -> None:
    """Read the headers, write both files."""
    parser = cli.tool_parser(__doc__)
    parser.add_argument("--out-dir", default=CONFIGS, type=Path, help="another folder for them")
    folder = parser.parse_args().out_dir
    paths = list(CONFIGS.glob("*.py"))
    texts = {"README.md": page_of_configs(paths), "metafile.yml": metafile_of_configs(paths)}
    for name, text in texts.items():
        with replacing(folder / name) as part:
            part.write_text(text, encoding="utf-8")
        print(f"written to {folder / name}")


if __name__ == "__main__":
    cli.run(main)
