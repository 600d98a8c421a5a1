"""`python -m ddim_embed` is the command `ddim-embed`."""

from ddim_embed.cli import main

main()
