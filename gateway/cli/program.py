"""What the program is called."""

from typing import Final

PROGRAM: Final = "sandbox-gateway"
