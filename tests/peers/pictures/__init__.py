"""The drawing of the part `pictures`: `terminal` draws a terminal's output."""
