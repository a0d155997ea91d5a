"""The trained networks: where they lie, how they are loaded, how they were made."""
