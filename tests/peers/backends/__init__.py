"""The rows of the part `backends`, a file each, what they share, the installation of servers, and a sink with published limits."""
