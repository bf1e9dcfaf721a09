"""The result of a check, as text."""

from __future__ import annotations

from collections import Counter

from .reading import Problem
from .survey import Survey


def summary(survey: Survey) -> str:
    """Write counts, sizes, classes and problems in several lines."""
    lines = [
        f"{survey.name}: {survey.num_images} images, {survey.num_masks} with mask, "
        f"{survey.num_read} read",
        *_size_lines(survey),
        *_class_lines(survey),
        *_problem_lines(survey.problems),
    ]
    return "\n".join(lines)


def bad_file_lines(survey: Survey) -> list[str]:
    """Write each problem in a line: part, kind, file and details, separated by tabs."""
    return ["\t".join((survey.name, p.kind, p.path, p.said)).rstrip() for p in survey.problems]


def _size_lines(survey: Survey) -> list[str]:
    if not survey.sizes:
        return []
    by_area = sorted(survey.sizes.elements(), key=lambda size: (size[0] * size[1], size))
    chosen = (by_area[0], by_area[len(by_area) // 2], by_area[-1])
    smallest, middle, largest = (f"{height}×{width}" for height, width in chosen)
    return [
        f"  sizes (height×width): smallest {smallest}, median {middle}, largest {largest}; "
        f"{len(survey.sizes)} different"
    ]


def _class_lines(survey: Survey) -> list[str]:
    """Write a table of the classes that occur, and the names of the others."""
    pixels, ignored = survey.pixels, survey.ignore_index
    if not pixels:
        return []
    names = {i: name for i, name in enumerate(survey.classes) if i != ignored}
    labelled = sum(pixels[i] for i in names) or 1
    rows = [(i, name, pixels[i] / labelled) for i, name in names.items() if pixels[i]]
    if pixels[ignored]:
        rows.append((ignored, "ignored (of all pixels)", pixels[ignored] / sum(pixels.values())))
    width = max((len(name) for _, name, _ in rows), default=4)
    lines = [f"  class  {'name':<{width}}     pixels   images"]
    lines += [
        f"  {i:>5}  {name:<{width}}  {share:>9.3%}  {survey.images_with[i]:>7}"
        for i, name, share in rows
    ]
    if survey.unlabelled:
        lines.append(f"  masks without any labelled pixel: {survey.unlabelled}")
    absent = [name for i, name in names.items() if not pixels[i]]
    if absent:
        lines.append(f"  never present ({len(absent)}): {', '.join(absent)}")
    return lines


def _problem_lines(problems: list[Problem], most: int = 10) -> list[str]:
    if not problems:
        return ["  no bad files"]
    kinds = Counter(problem.kind for problem in problems)
    lines = ["  " + "; ".join(f"{kind}: {count}" for kind, count in kinds.items())]
    for problem in problems[:most]:
        said = f" ({problem.said})" if problem.said else ""
        lines.append(f"    {problem.kind}: {problem.path}{said}")
    if len(problems) > most:
        lines.append(f"    and {len(problems) - most} more")
    return lines
