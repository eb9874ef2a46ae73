"""The spawner classes: they translate JupyterHub's calls into operations and decide nothing themselves."""
