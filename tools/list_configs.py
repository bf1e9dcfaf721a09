"""Write configs/README.md, the page of all configs and trained models, and configs/metafile.yml."""

from __future__ import annotations

from pathlib import Path

from mmseg_deepvit import command_line as cli
from mmseg_deepvit.files import replacing

if not cli.only_help():
    from mmseg_deepvit import studies
    from mmseg_deepvit.command_line.config_headers import metafile_of_configs, page_of_configs

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"


def read_studies() -> list[studies.Study]:
    """The studies of this repository, in the order of their folders."""
    return [studies.read_study(str(p)) for p in sorted((ROOT / "results").glob("*/study.yml"))]


def main() -> None:
    """Read headers and records, write both files."""
    parser = cli.tool_parser(__doc__)
    parser.add_argument("--out-dir", default=CONFIGS, type=Path, help="another folder for them")
    folder = parser.parse_args().out_dir
    paths = list(CONFIGS.glob("*.py"))
    found = [(s, studies.find_records(s)[0]) for s in read_studies()]
    trained = studies.trained_models([(study, records) for study, records in found if records])
    texts = {
        "README.md": page_of_configs(paths, trained),
        "metafile.yml": metafile_of_configs(paths),
    }
    for name, text in texts.items():
        with replacing(folder / name) as part:
            part.write_text(text, encoding="utf-8")
        print(f"written to {folder / name}")


if __name__ == "__main__":
    cli.run(main)
