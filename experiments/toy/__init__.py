"""The gravitational study on points of the plane (Asperti et al., Sec. 3.3, Figs 8 and 9)."""
