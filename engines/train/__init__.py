"""Training: `python -m engines train {lite,simswap,identity} --data DIR --out DIR`."""
