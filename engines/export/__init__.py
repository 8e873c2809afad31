"""Export: `python -m engines export {lite,simswap,identity} --weights F --out DIR`."""
