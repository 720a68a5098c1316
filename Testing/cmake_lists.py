"""Keep the file lists of the modules' ``CMakeLists.txt``: what is not listed is not packaged.

python Testing/cmake_lists.py            # tell what is missing or too much
python Testing/cmake_lists.py --write    # correct it
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
MODULES = ("AttribSeg", "AttribSeg/SegmentEditorAttribution", "MonotoneNet")
SCRIPTS, RESOURCES = "MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES"

#: Folders and files of a module that stay in the repository.
_APART = {"Testing", "__pycache__", "CMakeLists.txt"}

#: Files that only people who work on the repository need.
_NOT_PACKAGED = {".svg", ".md", ".pyc"}


def found(module: Path) -> dict[str, list[str]]:
    """Files of a module folder that belong into each list, sorted, relative to the folder.

    Python files below ``Resources`` are not imported but run or copied; they are resources.
    Folders with a ``CMakeLists.txt`` of their own are other modules.
    """
    lists: dict[str, list[str]] = {SCRIPTS: [], RESOURCES: []}
    others = {path.parent for path in module.rglob("CMakeLists.txt")} - {module}
    for path in module.rglob("*"):
        parts = path.relative_to(module).parts
        if not path.is_file() or _APART & set(parts) or any(part[0] == "." for part in parts):
            continue
        if others & set(path.parents) or path.suffix in _NOT_PACKAGED:
            continue
        script = path.suffix == ".py" and parts[0] != "Resources"
        lists[SCRIPTS if script else RESOURCES].append("/".join(parts))
    return {name: sorted(files) for name, files in lists.items()}


def listed(module: Path) -> dict[str, list[str]]:
    """What the module's ``CMakeLists.txt`` lists.

    Raises
    ------
    ValueError
        If a list is not there.
    """
    text = (module / "CMakeLists.txt").read_text(encoding="utf-8")
    return {name: _block(name, text, module).group(2).split() for name in (SCRIPTS, RESOURCES)}


def write(module: Path) -> bool:
    """Correct the lists of a module; true if anything changed."""
    path = module / "CMakeLists.txt"
    old = text = path.read_text(encoding="utf-8")
    for name, files in found(module).items():
        block = _block(name, text, module)
        lines = "".join(f"  {file}\n" for file in files)
        text = f"{text[: block.start()]}set({name}\n{lines}  ){text[block.end() :]}"
    if text != old:
        path.write_text(text, encoding="utf-8", newline="\n")
    return text != old


def _block(name: str, text: str, module: Path) -> re.Match[str]:
    match = re.search(rf"set\(({name})\n((?:  \S+\n)*)  \)", text)
    if match is None:
        raise ValueError(f"{module / 'CMakeLists.txt'}: has no list {name}")
    return match


def main() -> int:
    """Check or write all modules; 1 if a list was wrong and is still."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="correct the lists")
    args = parser.parse_args()
    wrong = 0
    for name in MODULES:
        module = REPOSITORY / name
        if args.write:
            print(f"{name}: {'written' if write(module) else 'as it was'}")
            continue
        there, told = found(module), listed(module)
        for kind in (SCRIPTS, RESOURCES):
            for file in sorted(set(there[kind]) - set(told[kind])):
                wrong += 1
                print(f"{name}/CMakeLists.txt: {kind} lacks {file}")
            for file in sorted(set(told[kind]) - set(there[kind])):
                wrong += 1
                print(f"{name}/CMakeLists.txt: {kind} lists {file}, which is not there")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
