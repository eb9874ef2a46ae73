"""The GPUs of this host: what there is, real or simulated, what can be leased of it, and what keeps users within it."""
