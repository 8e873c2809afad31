"""`python -m livecam.cli`: the same as the command `livecam`."""

from livecam.cli import main

main()
