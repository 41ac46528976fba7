"""``python -m tiledseg``."""

from .cli import main

main()
