"""What the part `backends` needs beside its rows: the installation of servers, and a sink with published limits."""
