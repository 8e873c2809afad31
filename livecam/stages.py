"""Names of the frame path's stages, in their order; the shared memory header carries their times in it."""

STAGES = ("capture", "search", "track", "align", "crop", "swap", "mask", "colour", "blend", "mark", "guard", "publish")
