"""The Docker Engine: clients and pools, what exists, networks and firewall, images. No rules of its own."""
