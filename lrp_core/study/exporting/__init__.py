"""What an export is made of: its formats and how each is written and checked, its card, and what it predicts.

`formats` says what there is, `making` writes and checks it. `programs`, `standalone` and `c_source` know one kind of
file each.
"""
