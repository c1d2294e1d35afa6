"""Policies that give actions directly, on the backbone of the video model: bins, flow matching, FAST codes."""
