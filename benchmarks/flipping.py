"""How many of MNIST's digits keep their answer where the most relevant 5 % of their pixels are those of the mean image.

python -m benchmarks.flipping [--seeds 3] [--json FILE]

k-means with 10 clusters on 10,000 training images, with soft and with hard minima, and an rbf-SVC on 3,000; 1,000 test
images are asked about. Pixels are chosen by relevance, by gradient x input, and at random.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import pandas as pd
import torch
from sklearn.cluster import KMeans
from sklearn.svm import SVC
from torch import Tensor, nn

import lrp_core as lc
from lrp_core.ranking.criteria import find_criterion

PIXELS = 39
CRITERIA = ("lrp-0", "gradient-x-input", "random")


def unmoved(net: nn.Module, images: Tensor, score: Tensor, mean: Tensor) -> float:
    """The share of images that keep their answer where the pixels of the highest score are those of the mean image."""
    places = score.topk(PIXELS, 1).indices
    return float((net(images.scatter(1, places, mean[places])).argmax(1) == net(images).argmax(1)).double().mean())


def measure(seeds: int) -> pd.DataFrame:
    """One row for each estimator and seed: the share of answers that stay, by how pixels were chosen."""
    data = lc.load_dataset("mnist")
    train, labels = data.train.images.flatten(1)[:10_000].double(), data.train.labels[:3_000]
    images, mean = data.test.images.flatten(1)[:1_000].double(), train.mean(0)
    networks = []
    for seed in range(seeds):
        clusters = KMeans(10, n_init=1, random_state=seed).fit(train.numpy())
        networks.append(("k-means, soft", seed, lc.neuralise(clusters)))
        networks.append(("k-means, hard", seed, lc.neuralise(clusters, stiffness=math.inf)))
    networks.append(("rbf-SVC", 0, lc.neuralise(SVC(C=10).fit(train[:3_000].numpy(), labels.numpy()))))
    rows = []
    for name, seed, net in networks:
        scores = {how: find_criterion(how).explain_with(net, seed)(images, None, "logit") for how in CRITERIA}
        shares = {how: unmoved(net, images, score, mean) for how, score in scores.items()}
        rows.append({"estimator": name, "seed": seed, **shares})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = measure(options.seeds)
    print(table.groupby("estimator", sort=False)[list(CRITERIA)].mean().round(3).to_string())
    if options.json:
        options.json.write_text(json.dumps(table.to_dict("records"), indent=2))


if __name__ == "__main__":
    main()
