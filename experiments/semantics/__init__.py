"""Asyrp (Kwon, Jeong, Uh 2023): directions in the h-space, measured beside controls."""
