"""A tour of the four systems on a few bundled images."""
