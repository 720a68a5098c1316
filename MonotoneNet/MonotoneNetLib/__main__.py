"""``python -m MonotoneNetLib``: the attribseg commands with the monotone recipe, and inspect.

An installed package is found by its entry point; this way needs no installation.
"""

import sys

from AttribSegLib.cli import main
from AttribSegLib.recipes import offer

from . import inspect_command

if __name__ == "__main__":
    offer("monotone", "MonotoneNetLib.recipe:MonotoneRecipe")
    sys.exit(main(commands={"inspect": inspect_command}))
