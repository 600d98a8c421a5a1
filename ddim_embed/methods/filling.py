"""Smooth continuation of an image into its unknown part."""

import numpy as np


def fill(pixels, held):
    """Fills the pixels of each image that are not held by their harmonic continuation.

    It has the least sum of squared differences between neighbours: every filled pixel is the mean
    of those around it, so that none leaves the range of the held pixels. `held` is bool
    `(n, height, width)`, True where a pixel is known; at least one of each image.
    """
    # Not at the top: importing the library needs no SciPy.
    from scipy import sparse
    from scipy.sparse.linalg import spsolve

    height, width = held.shape[1:]
    places = np.arange(height * width).reshape(height, width)
    firsts = np.concatenate([places[:, :-1].ravel(), places[:-1].ravel()])
    seconds = np.concatenate([places[:, 1:].ravel(), places[1:].ravel()])
    ones = np.ones(len(firsts))
    neighbours = sparse.coo_array((ones, (firsts, seconds)), shape=(places.size, places.size))
    laplacian = sparse.csgraph.laplacian(neighbours + neighbours.T).tocsr()

    filled = pixels.reshape(len(pixels), places.size, -1).copy()
    for image, known in zip(filled, held.reshape(len(held), -1), strict=True):
        free = np.flatnonzero(~known)
        if len(free):
            rows = laplacian[free]
            flow = -rows[:, known] @ image[known].astype(np.float64)
            image[free] = spsolve(rows[:, free].tocsc(), flow).reshape(flow.shape)
    return filled.reshape(pixels.shape)
