"""The project on inverting DDIMs: error against cost of every method."""
