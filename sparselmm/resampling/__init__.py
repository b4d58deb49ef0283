"""Simulation, refits and the bootstrap."""
