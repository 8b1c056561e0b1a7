"""The arguments of each command, with the help that a stranger reads."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from ..errors import InputError
from . import bundling, commands, exporting, predicting, pruning, ranking, removal, report, speed


def make_parser() -> argparse.ArgumentParser:
    prog = "lrp-core" if Path(sys.argv[0]).stem == "lrp-core" else "python -m lrp_core"
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Which inputs does a network need, and what does it save to drop the rest?",
        epilog=f"'{prog} info' lists every data set, model, criterion and composite by name. study, export and prune "
        "take turns with other work on the same cache folder; LRP_WORKERS processes train at once.",
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, handler, summary, groups in (
        (
            "train",
            commands.train,
            "train one network on all inputs and measure it",
            (_data_arguments, _model_arguments, _train_arguments),
        ),
        (
            "rank",
            ranking.rank,
            "rank the inputs by relevance or a control",
            (_data_arguments, _model_arguments, _criterion_arguments, _rank_arguments),
        ),
        ("compare", ranking.compare, "say how much two rankings agree", (_compare_arguments,)),
        (
            "study",
            commands.study,
            "measure accuracy against the share of inputs removed",
            (_data_arguments, _study_arguments),
        ),
        ("report", report.report, "write what a study found as one HTML file", (report.report_arguments,)),
        (
            "bundle",
            bundling.bundle,
            "write a complete study to one small file, without its networks",
            (bundling.add_arguments,),
        ),
        (
            "remove",
            removal.remove,
            "remove the most, or least, relevant inputs of each image and classify again",
            (_data_arguments, _model_arguments, _remove_arguments),
        ),
        (
            "export",
            exporting.export,
            "make a smaller network and write it to a folder",
            (_data_arguments, _model_arguments, _criterion_arguments, _export_arguments),
        ),
        (
            "prune",
            pruning.prune,
            "make inputs and hidden units fit a budget of MACs, and measure what is left",
            (_data_arguments, _model_arguments, pruning.prune_arguments),
        ),
        ("predict", predicting.predict, "classify images with an exported network", (_predict_arguments,)),
        (
            "speed",
            speed.speed,
            "measure an exported network beside the full one, on this machine",
            (_speed_arguments,),
        ),
        ("info", commands.info, "versions, cache, runs, and every name that can be used", ()),
    ):
        command = subparsers.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        command.set_defaults(handler=handler)
        for group in groups:
            group(command)
        if name != "remove":  # its --json takes a file as well
            command.add_argument("--json", action="store_true", help="print the result as JSON, for machines")
    return parser


class _Refusing(argparse.ArgumentParser):
    """A parser that raises where others end the program."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"the dashboard was started with what it does not know: {message}")


def make_dashboard_parser() -> argparse.ArgumentParser:
    """What the dashboard takes behind `--`."""
    parser = _Refusing(prog="streamlit run app.py --", add_help=False, allow_abbrev=False)
    _data_arguments(parser)
    parser.add_argument("--model", metavar="NAME")
    _network_arguments(parser)
    parser.add_argument("--epochs", type=int, metavar="N")
    _recipe_arguments(parser)
    parser.add_argument(
        "--allow",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="FOLDER",
        help="folders below which visitors may name one with a data set's files",
    )
    parser.set_defaults(command="dashboard")
    return parser


def _data_arguments(command: argparse.ArgumentParser) -> None:
    which = command.add_mutually_exclusive_group()
    which.add_argument("--dataset", default="mnist", metavar="NAME", help="data set, by name")
    _own_data_arguments(command, which)
    _source_arguments(command)


def _own_data_arguments(command: argparse.ArgumentParser, which: argparse._MutuallyExclusiveGroup) -> None:
    which.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="your own data: a table (.csv, .tsv, .parquet), arrays (.npz, .mat), IDX files, or folders of pictures",
    )
    own = command.add_argument_group("how to read --data")
    own.add_argument("--label", metavar="NAME", help="column, or array, of labels; default: the one that looks like it")
    own.add_argument("--inputs", metavar="NAME", help="array, or column of images, of inputs; default: by its name")
    own.add_argument(
        "--groups-column",
        metavar="NAME",
        help="column, or array, whose equal values stay in one split: patients, devices",
    )
    own.add_argument("--drop", nargs="+", default=[], metavar="NAME", help="columns to leave out")
    own.add_argument(
        "--image-size", type=_size, metavar="HxW", help="rows are images, or pictures become so large: 28x28 or 3x32x32"
    )
    own.add_argument("--series", type=_size, metavar="CxL", help="rows are series, channels by samples: 3x100")
    own.add_argument(
        "--input-groups",
        metavar="HOW",
        help="inputs that are kept or dropped as one, and their costs: channels, windows:N, none, or a CSV file; "
        "default: channels of series, columns of words",
    )
    own.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="whether the first line of a text table names the columns; default: by its look",
    )
    own.add_argument("--impute", metavar="NAME", help="median: take the place of missing numbers; default: refuse them")
    own.add_argument(
        "--standardise",
        metavar="NAME",
        help="inputs, channels or no; default: inputs for tables, channels for series, no for pixels",
    )
    own.add_argument(
        "--task",
        default="classification",
        metavar="NAME",
        help="classification: labels are classes; regression: they are numbers to be predicted",
    )
    own.add_argument("--split-seed", type=int, default=0, metavar="N", help="of the split, where there is none yet")


def _size(text: str) -> tuple[int, ...]:
    """28x28 as (28, 28)."""
    try:
        return tuple(int(side) for side in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"write a size as 28x28, not {text!r}") from None


def _source_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data-root", type=Path, metavar="FOLDER", help="folder with the data set's files; MNIST needs none"
    )
    command.add_argument("--download", action="store_true", help="let torchvision fetch files that are missing")


def _model_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", default="mlp-300-100", metavar="NAME", help="architecture, by name")
    _network_arguments(command)
    command.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the weights, the order of images, and ties"
    )
    command.add_argument(
        "--epochs", type=int, metavar="N", help="passes over the training images; default: the model's"
    )
    _recipe_arguments(command)
    command.add_argument("--train-images", type=int, metavar="N", help="stratified sample to train on; default: all")


def _network_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--network",
        metavar="PLACE",
        help="a network of your own: FILE.py:FUNCTION, MODULE:FUNCTION, or a .pt2 file, whose code is run; or the "
        "folder of an export of a network on all inputs",
    )


def _network_arguments(command: argparse.ArgumentParser) -> None:
    _network_argument(command)
    command.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="what that network has learned, a state dict (.safetensors, .pt): it is then not trained unless --epochs "
        "says so",
    )


def _recipe_arguments(command: argparse.ArgumentParser) -> None:
    """How networks are trained, beside how long."""
    command.add_argument(
        "--optimizer", metavar="NAME", help="adamw (default), or sgd, which wants a higher --lr, 0.1 say"
    )
    command.add_argument("--batch-size", type=int, metavar="N", help="images in each step; default: the model's")
    command.add_argument(
        *("--lr", "--learning-rate"), type=float, metavar="X", help="highest learning rate; default: the model's"
    )
    command.add_argument(
        "--patience",
        type=int,
        metavar="N",
        help="end training after N epochs without a lower loss on validation images, and take the best epoch's "
        "weights; default: train all epochs",
    )


def _train_arguments(command: argparse.ArgumentParser) -> None:
    _precision_argument(command)
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    command.add_argument("--output", type=Path, metavar="FILE", help="write the weights to this .safetensors file")
    command.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")


def _precision_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--precision",
        metavar="NAME",
        help="of the products in training: float32 (default), or bfloat16, which is faster on processors made for it",
    )


def _criterion_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--criterion", default="lrp-0", metavar="NAME", help="an LRP composite or a control: 'info' lists them"
    )
    command.add_argument(
        "--strategy", default="one-shot", metavar="NAME", help="one-shot, stability, elimination or exchange"
    )
    command.add_argument(
        "--statistic", default="mean-square", metavar="NAME", help="how relevance is aggregated over images"
    )
    command.add_argument("--start", default="log-odds", metavar="NAME", help="relevance at the output")
    command.add_argument(
        "--images", type=int, metavar="N", help="images to measure relevance on; default: all training images"
    )


def _rank_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--keep", type=int, metavar="N", help="number of inputs whose set the strategy exchange improves"
    )
    command.add_argument("--for-class", type=int, metavar="N", help="rank by the images of this class alone (one-shot)")
    command.add_argument("--top", type=int, default=10, metavar="N", help="how many inputs to print")
    command.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write the whole ranking: to a .json file, or a .safetensors file for Ranking.load",
    )


def _compare_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "rankings", type=Path, nargs=2, metavar="FILE", help="a .safetensors file that 'rank --output' wrote"
    )
    command.add_argument(
        "--keeps", nargs="+", type=int, metavar="N", help="numbers of inputs whose overlap is printed; default: four"
    )


def _study_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--preset",
        default="quick",
        metavar="NAME",
        help="quick (little over a minute for MNIST) or full; every option below changes one part of it",
    )
    command.add_argument("--model", metavar="NAME", help="architecture, by name")
    _network_arguments(command)
    command.add_argument("--criteria", nargs="+", metavar="NAME", help="LRP composites and controls")
    command.add_argument(
        "--strategies",
        nargs="+",
        metavar="NAME",
        help="one-shot, stability, elimination, exchange: how criteria that explain images are used",
    )
    command.add_argument("--keeps", nargs="+", type=int, metavar="N", help="numbers of inputs to keep")
    command.add_argument(
        "--removed", nargs="+", type=float, metavar="PERCENT", help="the same, as per cent of the inputs removed"
    )
    command.add_argument("--modes", nargs="+", metavar="MODE", help="none (slice only), fine-tune, scratch")
    command.add_argument("--seeds", nargs="+", type=int, metavar="N", help="one network for each")
    command.add_argument(
        "--resplit",
        action=argparse.BooleanOptionalAction,
        help="each seed draws its own training, validation and test rows of --data; default: where there are fewer "
        "rows than inputs, with ten seeds",
    )
    command.add_argument(
        "--mask-seeds",
        nargs="+",
        type=int,
        metavar="N",
        help="seeds of the networks that masks come from, each tried with every seed; default: a seed's own network",
    )
    command.add_argument(
        "--margin",
        type=float,
        default=0.5,
        metavar="POINTS",
        help="accuracy that may be lost, for the recommended threshold",
    )
    command.add_argument("--train-images", type=int, metavar="N", help="stratified sample to train on")
    command.add_argument("--images", type=int, metavar="N", help="images to measure relevance on")
    command.add_argument("--statistic", metavar="NAME", help="how relevance is aggregated over images")
    command.add_argument("--start", metavar="NAME", help="relevance at the output")
    command.add_argument(
        "--fewest", type=int, metavar="N", help="where elimination ends; quick: the fewest inputs that are kept"
    )
    command.add_argument(
        "--epochs", type=int, metavar="N", help="passes over the images when training on all inputs or from scratch"
    )
    command.add_argument("--retrain-epochs", type=int, metavar="N", help="passes over the images when fine-tuning")
    _recipe_arguments(command)
    _precision_argument(command)
    command.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="the most processes of one thread each; default: as many as may train at once (LRP_WORKERS)",
    )
    command.add_argument(
        "--backend", default="loky", metavar="NAME", help="loky: processes of this machine; dask: many machines"
    )
    command.add_argument(
        "--scheduler", metavar="ADDRESS", help="of the Dask scheduler whose workers run the trials: tcp://HOST:PORT"
    )
    command.add_argument(
        "--fall-back", action="store_true", help="go on with this machine if the scheduler does not answer"
    )
    command.add_argument(
        "--resume", metavar="ID", help="go on with a study that was started before ('info' lists them)"
    )


def _remove_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--criteria",
        nargs="+",
        default=["lrp-0"],
        metavar="NAME",
        help="LRP composites, gradient, gradient-x-input, integrated-gradients, smoothgrad, random, centre, or "
        "data-set (one mask for all images)",
    )
    command.add_argument("--start", default="logit", metavar="NAME", help="relevance at the output")
    command.add_argument(
        "--removed", type=float, default=15.0, metavar="PERCENT", help="per cent of the inputs removed"
    )
    command.add_argument(
        "--rankings", nargs="+", default=["signed"], metavar="NAME", help="signed, as in the paper, or magnitude"
    )
    command.add_argument(
        "--scopes",
        nargs="+",
        default=["all", "active", "lit"],
        metavar="NAME",
        help="inputs that may be removed: all, active (lit in 1 %% of the training images), lit (in the image)",
    )
    command.add_argument(
        "--fills",
        nargs="+",
        default=["zero"],
        metavar="NAME",
        help="what removed inputs become: zero, mean, noise, blur, road",
    )
    command.add_argument("--images", type=int, metavar="N", help="stratified sample of test images; default: all")
    command.add_argument("--per-class", action="store_true", help="a row for each class as well")
    command.add_argument("--curves", action="store_true", help="curves over the whole range of shares as well")
    command.add_argument("--steps", type=int, default=20, metavar="N", help="steps of a curve")
    command.add_argument(
        "--roar", nargs="+", type=float, metavar="PERCENT", help="train again without these shares of the inputs (slow)"
    )
    command.add_argument(
        "--mask-leak", action="store_true", help="train on the masks alone: what their shape tells about the class"
    )
    command.add_argument(
        "--retrain-seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="one network for each"
    )
    command.add_argument("--retrain-epochs", type=int, metavar="N", help="passes over the images; default: the model's")
    command.add_argument(
        "--csv", type=Path, metavar="FILE", help="write the table; what else was asked for goes to files beside it"
    )
    command.add_argument(
        "--json",
        nargs="?",
        const=True,
        default=False,
        type=lambda name: True if name == "-" else Path(name),
        metavar="FILE",
        help="print the result as JSON (also: -), or write it to FILE",
    )


def _export_arguments(command: argparse.ArgumentParser) -> None:
    size = command.add_mutually_exclusive_group()
    size.add_argument("--keep", type=int, metavar="N", help="number of inputs to keep")
    size.add_argument(
        "--removed", type=float, default=50, metavar="PERCENT", help="the same, as per cent of the inputs removed"
    )
    command.add_argument("--mode", default="fine-tune", metavar="MODE", help="none (slice only), fine-tune or scratch")
    command.add_argument("--output", type=Path, metavar="FOLDER", help="folder to write; must not exist yet")
    command.add_argument(
        "--measure", action="store_true", help="measure how fast both networks are here, for the card: some 20 seconds"
    )
    command.add_argument(
        "--formats",
        nargs="+",
        default=["safetensors"],
        metavar="NAME",
        help="files beside the weights that run without this project: state-dict, pt2 (torch alone), onnx, standalone "
        "(a script that predicts), c, c-int8",
    )
    command.add_argument(
        "--margin",
        type=float,
        default=0.5,
        metavar="POINTS",
        help="accuracy that may be lost against the full network, as the card then says",
    )
    command.add_argument("--overwrite", action="store_true", help="replace an earlier export in FOLDER")
    command.add_argument("--resume", metavar="ID", help=argparse.SUPPRESS)


def _predict_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("export", type=Path, metavar="FOLDER", help="an exported network")
    _network_argument(command)
    command.add_argument(
        "images",
        type=Path,
        nargs="*",
        metavar="FILE",
        help="pictures or a folder of them, tables with the columns that the network reads, arrays (.npz, .npy, .mat), "
        "or IDX files; without labels",
    )
    which = command.add_mutually_exclusive_group()
    which.add_argument("--dataset", metavar="NAME", help="classify test images of a data set instead")
    _own_data_arguments(command, which)
    command.add_argument("--limit", type=int, default=10_000, metavar="N", help="how many of them")
    _source_arguments(command)


def _speed_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("export", type=Path, metavar="FOLDER", help="an exported network")
    _network_argument(command)
    command.add_argument(
        "--int8", action="store_true", help="measure both with int8 weights as well (dynamic quantisation)"
    )
    command.add_argument("--threads", type=int, default=1, metavar="N", help="threads of the processor")
    command.add_argument("--seconds", type=float, default=20.0, metavar="N", help="about how long to measure")
