"""The full and the small network answer side by side."""

from pages._ui import frame

opened, run = frame.open_page(
    "Try it", "Draw, upload or pick an image: the full and the small network answer side by side."
)
