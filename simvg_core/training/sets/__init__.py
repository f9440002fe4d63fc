"""Data sets of expressions about images, in the formats in which people have them on disk."""
