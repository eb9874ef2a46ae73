"""Pure decisions: who may have what. Standard library only, no I/O, no clock; denials are values."""
