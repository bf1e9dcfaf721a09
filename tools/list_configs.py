"""Write configs/README.md, the page of all configs, from what they say of themselves."""

from __future__ import annotations

from pathlib import Path

from mmseg_deepvit import command_line as cli
from mmseg_deepvit.errors import UserError
from mmseg_deepvit.files import replacing

if not cli.only_help():
    from mmseg_deepvit.command_line.config_headers import page_of_configs

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def main() -> None:
    """Read the headers, write the page."""
    parser = cli.tool_parser(__doc__)
    parser.add_argument("--out", default=CONFIGS / "README.md", type=Path, help="another file")
    out = parser.parse_args().out
    page = page_of_configs(CONFIGS.glob("*.py"))
    try:
        with replacing(out) as part:
            part.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out {out} cannot be written ({error.strerror})") from error
    print(f"page of configs: {out}")


if __name__ == "__main__":
    cli.run(main)
