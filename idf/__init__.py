"""Initiative Defense against Facial Manipulation (AAAI 2021): networks, losses, trainings."""
