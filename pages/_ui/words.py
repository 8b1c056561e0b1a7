"""What the pages' terms mean, in a sentence each: shown as tooltips, and together in the frame."""

GLOSSARY = {
    "LRP": "Layer-wise relevance propagation goes back from an answer of the network through its layers and shares it "
    "out: the relevance of an input is how much of the answer came from it.",
    "method": "What orders the inputs: a criterion, such as a rule of LRP or the variance of an input, and a strategy.",
    "one-shot": "A strategy: rank once, with the full network.",
    "elimination": "A strategy: remove the least relevant inputs, let the network adapt, rank again, and so on.",
    "control": "A method that does not look at relevance. What LRP is worth is how far it is ahead of these.",
    "full network": "The network that reads all inputs.",
    "small network": "The network that reads the kept inputs alone.",
    "fine-tune": "Train on for a few epochs. The full network it is compared with gets the same epochs.",
    "scratch": "Train from new weights, on the kept inputs alone.",
    "margin": "The loss that you allow, in points.",
    "recommended": "The recommended threshold is the furthest at which the whole 95 % interval of the difference to "
    "the full network stays within your margin.",
    "points": "Percentage points: from 98 % to 97.5 % is a loss of 0.5 points.",
    "MACs": "Multiply-accumulates: the multiplications that the network does for one input.",
    "validation": "Data for choosing. The test data only measure what was chosen.",
    "seed": "One network each, from other first weights. Several seeds tell how far chance matters.",
}
