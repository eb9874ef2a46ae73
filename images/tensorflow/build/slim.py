"""Takes out of the server's environment what no server needs."""
