"""Draw docs/lrp.png: one test digit under every composite, for a network trained here (a minute on one core).

python docs/make_lrp_figure.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import lrp_core as lc
from lrp_core.lrp import COMPOSITES

ZOOM, GAP, TEXT = 6, 14, 22
INDEX = 18
"""A three that could be an eight."""


def diverging(relevance: np.ndarray) -> np.ndarray:
    """Red for, blue against, white for none; [height, width] -> [height, width, 3] bytes."""
    x = relevance / max(np.quantile(np.abs(relevance), 0.995), 1e-12)
    x = np.clip(x, -1, 1)[..., None]
    red, blue = np.array([178, 24, 43]), np.array([33, 102, 172])
    colored = np.where(x > 0, 255 + x * (red - 255), 255 - x * (blue - 255))
    return colored.round().astype(np.uint8)


def main() -> None:
    data = lc.load_dataset("mnist")
    network = lc.fit(lc.build_model("lenet-5", data), data, seed=0)
    image = data.test.images[INDEX : INDEX + 1]
    with torch.no_grad():
        probability, predicted = network(image).softmax(1).max(1)
    pictures = {f"a {int(data.test.labels[INDEX])}, read as {int(predicted)} ({float(probability):.0%})": None}
    pictures |= {name: lc.attribute(network, image, composite=name)[0, 0].numpy() for name in COMPOSITES}
    side, columns = 28 * ZOOM, 5
    rows = -(-len(pictures) // columns)
    width, height = columns * (side + GAP) + GAP, rows * (side + TEXT + GAP) + GAP
    canvas = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    for i, (name, relevance) in enumerate(pictures.items()):
        x, y = GAP + i % columns * (side + GAP), GAP + i // columns * (side + TEXT + GAP)
        pixels = np.repeat(255 - (image[0, 0, :, :, None] * 255).byte().numpy(), 3, 2)
        shown = pixels if relevance is None else diverging(relevance)
        canvas.paste(Image.fromarray(shown).resize((side, side), Image.Resampling.NEAREST), (x, y + TEXT))
        draw.rectangle((x - 1, y + TEXT - 1, x + side, y + TEXT + side), outline="#cccccc")
        draw.text((x, y), name, fill="#222222", font=font)
    canvas.save(Path(__file__).with_name("lrp.png"), optimize=True)


if __name__ == "__main__":
    main()
