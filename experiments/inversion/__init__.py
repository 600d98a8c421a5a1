"""The project on inverting DDIMs: every method beside what it costs."""
