"""What a drawn face can have: attributes, classes of its pixels, and the ranges it varies in."""

# Share of the faces for which an attribute holds; of the four hair colours each face has one.
SHARES = {
    "Bangs": 0.4,
    "Black_Hair": 0.25,
    "Blond_Hair": 0.25,
    "Brown_Hair": 0.25,
    "Eyeglasses": 0.4,
    "Gray_Hair": 0.25,
    "No_Beard": 0.65,
    "Pale_Skin": 0.25,
    "Smiling": 0.5,
    "Wearing_Hat": 0.15,
    "Young": 0.7,
}
ATTRIBUTES = tuple(SHARES)

# The classes of CelebAMask-HQ. "left" is the person's left: the right half of the picture.
LABELS = (
    "background",
    "skin",
    "nose",
    "glasses",
    "left eye",
    "right eye",
    "left brow",
    "right brow",
    "left ear",
    "right ear",
    "mouth",
    "upper lip",
    "lower lip",
    "hair",
    "hat",
    "earring",
    "necklace",
    "neck",
    "cloth",
)

# Ranges of the numbers drawn for a face. Another order would give every seed another face.
# Lengths are in face coordinates: x to the right, y down, the picture spans about [-1, 1].
UNIT = (0.0, 1.0)
IDENTITY = {
    "colour": UNIT,  # of the hair: which of HAIR
    "shade": UNIT,
    "tone": UNIT,  # of the skin
    "warmth": (-0.5, 0.5),
    "width": (0.5, 0.55),
    "jaw": (0.35, 0.43),
    "jaw_y": (0.18, 0.27),
    "chin": (0.77, 0.85),
    "eye_x": (0.215, 0.24),
    "eye_y": (-0.055, -0.02),
    "eye_w": (0.125, 0.145),
    "eye_up": (0.062, 0.084),
    "eye_tilt": (-0.008, 0.018),
    "iris": UNIT,
    "spare": UNIT,  # the hair colour instead of one that is ruled out
    "brow_y": (-0.235, -0.195),
    "brow_w": (0.016, 0.032),
    "brow_arch": (0.025, 0.055),
    "brow_tilt": (-0.028, 0.006),
    "nose_w": (0.085, 0.115),
    "nose_y": (0.19, 0.25),
    "mouth_y": (0.45, 0.49),
    "mouth_w": (0.165, 0.2),
    "lip_h": (0.032, 0.05),
    "lip_red": (0.3, 0.62),
    "length": UNIT,  # of the hair
    "volume": (0.05, 0.11),
    "top": (0.07, 0.16),
    "curl": UNIT,
    "part": (-1.0, 1.0),
    "hairline": (-0.53, -0.45),
    "fringe": (-0.3, -0.25),
    "beard_kind": UNIT,
    "density": (0.72, 0.92),
    "glasses_round": (0.04, 0.12),
    "glasses_size": (0.155, 0.172),
    "frame": UNIT,
    "hat_kind": UNIT,
    "hat_hue": UNIT,
    "hat_shade": (0.25, 0.6),
    "cloth_hue": UNIT,
    "cloth_shade": (0.22, 0.65),
    "collar": (0.2, 0.34),
    "neck": (0.23, 0.3),
    "wall_hue": UNIT,
    "wall_shade": (0.55, 0.85),
    "wall_turn": (-0.6, 0.6),
    "light": (-1.0, 1.0),
}
EXPRESSION = {
    "yaw": (-0.1, 0.1),
    "pitch": (-0.05, 0.05),
    "roll": (-0.08, 0.08),
    "zoom": (0.98, 1.06),
    "shift_x": (-0.03, 0.03),
    "shift_y": (-0.06, -0.01),
    "bend": (-0.0084, 0.0196),  # of the mouth
    "gap": UNIT,  # between the lips
    "gaze": (-0.015, 0.015),
    "smile": (0.8, 1.0),
}

# Colours as red, green, blue in [0, 1]: a face lies somewhere on the way through each row.
HAIR_COLOURS = {
    "Black_Hair": ((0.07, 0.06, 0.07), (0.15, 0.12, 0.12)),
    "Blond_Hair": ((0.90, 0.76, 0.47), (0.80, 0.62, 0.33)),
    "Brown_Hair": ((0.45, 0.26, 0.14), (0.31, 0.18, 0.11)),
    "Gray_Hair": ((0.74, 0.74, 0.75), (0.55, 0.56, 0.58)),
}
SKIN = (
    (0.90, 0.70, 0.56),
    (0.83, 0.60, 0.44),
    (0.68, 0.45, 0.31),
    (0.50, 0.32, 0.22),
    (0.37, 0.23, 0.16),
)
PALE = ((0.98, 0.90, 0.86), (0.96, 0.87, 0.81))
IRIS = (
    (0.25, 0.14, 0.08),
    (0.42, 0.26, 0.12),
    (0.33, 0.42, 0.24),
    (0.28, 0.45, 0.62),
    (0.40, 0.47, 0.52),
)
