"""What generate.py writes: the description of the boards, and a file for each vendor."""
