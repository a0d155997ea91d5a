"""Initiative Defense against Facial Manipulation (AAAI 2021), as a tutorial: networks and losses that read like it."""
