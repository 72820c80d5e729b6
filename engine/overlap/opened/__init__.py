"""A sweep in a notebook: what `overlap.open` gives."""
