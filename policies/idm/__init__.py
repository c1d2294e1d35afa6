"""Inverse dynamics: what was commanded between frames, read from the frames; and labels for video without actions."""
