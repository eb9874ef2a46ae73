"""Kill -9 of everything under load: what the ledger says afterwards against what was."""
