"""Names of usual transformer blocks, for the panel."""

SUGGESTED_LAYERS = (
    ("middle", "Middle"),
    ("u0", "First decoder block"),
    ("middle, u0", "Middle and first decoder block"),
    ("deep", "End of the encoder"),
)
"""Values of a layers setting, each with its name; decoder blocks are counted among those with attention."""
