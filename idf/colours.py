"""Okabe and Ito's colours, which colour-blind readers tell apart. No matplotlib: apps read them."""

BLUE = "#0072B2"
ORANGE = "#E69F00"
GREEN = "#009E73"
RED = "#D55E00"
SKY = "#56B4E9"
PINK = "#CC79A7"
GREY = "#777777"
COLOURS = (BLUE, RED, GREEN, ORANGE, PINK, SKY, GREY)  # the order in which series take them
