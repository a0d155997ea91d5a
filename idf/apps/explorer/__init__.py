"""The explorer: a page on which one moves a control and sees what the forger makes of it.

state: what the controls say; view and film: what is to be seen (no widgets); upload: one's own
photo; page and html: the controls and the pictures; server: the page by itself, `make explore`.
"""
