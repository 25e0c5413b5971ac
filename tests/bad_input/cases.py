"""Bad input as a table: what is wrong, which exit code follows, and what the message must contain.

`GOOD` is a file over `labels.csv` (written by the test) that passes `check`; a case changes one thing.
"""

from dataclasses import dataclass

GOOD = """\
name: tiny
seed: 1
data:
  source: labels.csv
  root: images
  split: {train: 0.6, val: 0.2, test: 0.2}
  image_size: 8
tasks:
  color: {type: multiclass, label: color}
  logo: {type: binary, label: logo, positive: "1"}
model:
  backbone: {name: small_cnn, width: 8}
  heads:
    default: {kind: mlp, hidden: [8]}
balancing: {method: static, weights: {color: 1, logo: 0.5}}
training:
  epochs: 20
  batch_size: 16
  optimizer: {name: adamw, lr: 3e-4}
  select: {metric: score, mode: max}
search:
  trials: 4
  sampler: random
  objectives: [color.accuracy, logo.auroc]
  stop_early: {kind: asha, on: score, min_epochs: 3}
  space:
    balancing.weights: {simplex: [color, logo], min: 0.05}
    training.optimizer.lr: {log: [1e-5, 1e-2]}
compute: {workers: auto, slots: auto, per_worker: {cpu: 1, gpu: auto}}
tracking: {mlflow: auto}
"""

CONFIG = 2
DATA = 3


@dataclass(frozen=True)
class Case:
    """One thing that is wrong.

    Attributes:
        name: of the case.
        old: text of `GOOD`...
        new: ...and what stands there instead.
        says: what the message must contain.
        code: exit code.
        overrides: `-s` options.
    """

    name: str
    old: str
    new: str
    says: tuple[str, ...]
    code: int = CONFIG
    overrides: tuple[str, ...] = ()


FILE_CASES = (
    # Keys
    Case(
        "a misspelt key",
        "epochs: 20",
        "epoch: 20",
        ("tiny.yaml:17:3: training.epoch: unknown key", "epochs?"),
    ),
    Case(
        "a misspelt section",
        "training:\n",
        "trainign:\n",
        ("tiny.yaml:16:1: trainign", "Did you mean training?"),
    ),
    Case(
        "a key of another kind", "lr: 3e-4", "momentum: 0.9", ("training.optimizer.momentum", "a key of sgd")
    ),
    Case(
        "a key in the wrong section",
        "epochs: 20",
        "lr: 1",
        ("training.lr", "Did you mean training.optimizer.lr"),
    ),
    Case("a duplicate key", "seed: 1", "seed: 1\nseed: 2", ("tiny.yaml:3:1: seed: written twice", "line 2")),
    Case("a missing required key", "label: color", "metric: f1", ("tasks.color: the key label is missing",)),
    Case("a missing name", "name: tiny\n", "", ("the key name is missing",)),
    Case(
        "a task without type", "{type: multiclass, l", "{l", ("tasks.color", "type is missing", "multilabel")
    ),
    Case(
        "a quota in unheard-of units",
        "tracking: {mlflow: auto}",
        "tracking: {checkpoints: {quota: 20 gigs}}",
        ("tracking.checkpoints.quota", "'20 gigs' is no size", "20GB"),
    ),
    Case(
        "a login in the file",
        "tracking: {mlflow: auto}",
        'tracking: {mlflow: "https://me:hush@host"}',
        ("tracking.mlflow: a login does not belong here", "MLFLOW_TRACKING_URI"),
    ),
    Case("a number as task name", "  color: {type", "  3: {type", ("tasks[3]", "must be text", 'Write "3"')),
    Case(
        "a space in a task name",
        "  logo: {type",
        "  my logo: {type",
        ("tasks.my logo", "letters, digits and _"),
    ),
    Case("a reserved task name", "  logo: {type", "  score: {type", ("tasks.score", "another name")),
    # Types and values
    Case(
        "text for a number",
        "epochs: 20",
        'epochs: "20"',
        ("17:11", '"20" is text', "whole number ≥ 1", "without"),
    ),
    Case("a fraction for a count", "epochs: 20", "epochs: 2.5", ("17:11", "whole number ≥ 1")),
    Case("a boolean for a number", "epochs: 20", "epochs: true", ("17:11", "true is true/false")),
    Case("zero epochs", "epochs: 20", "epochs: 0", ("17:11", "0 is not allowed", "≥ 1")),
    Case("nothing for a number", "epochs: 20", "epochs:", ("training.epochs: is empty", "whole number")),
    Case(
        "a list for a mapping",
        "balancing: {method: static",
        "balancing: []\nx: {a: b",
        ("balancing: [] is a list",),
    ),
    Case("a scalar for a list", "hidden: [8]", "hidden: 8", ("14:34", "a list", "Write [8]")),
    Case("a negative rate", "lr: 3e-4", "lr: -1", ("training.optimizer.lr: -1 is not allowed", "number > 0")),
    Case("an infinite rate", "lr: 3e-4", "lr: .inf", ("training.optimizer.lr", "finite")),
    Case("an unknown word", "sampler: random", "sampler: randon", ("search.sampler", "Did you mean random?")),
    Case("an unknown kind", "name: adamw", "name: admw", ("training.optimizer.name", "Did you mean adamw?")),
    Case(
        "an unknown task type", "type: binary", "type: boolean", ("tasks.logo.type", "binary or multilabel")
    ),
    Case(
        "a wrong augmentation", "image_size: 8", "augment: [{name: flop}]", ("data.augment[0].name", "flip")
    ),
    Case("fractions beyond one", "train: 0.6", "train: 0.7", ("data.split", "must be 1")),
    Case("two sizes too few", "image_size: 8", "image_size: [8]", ("data.image_size: [8]", "whole number")),
    Case("an unknown backbone", "{name: small_cnn, width: 8}", "resnet81", ("model.backbone", "resnet18")),
    Case("a name with a slash", "name: tiny", "name: a/b", ("name: ", "letters, digits, dots")),
    # YAML
    Case("a tab", "  epochs: 20", "\tepochs: 20", ("tiny.yaml:17:1", "tab")),
    Case("bad indentation", "  epochs: 20", " epochs: 20", ("tiny.yaml:18:", "indentation")),
    Case("an open bracket", "hidden: [8]", "hidden: [8", ("tiny.yaml:", "not YAML")),
    Case("an unknown alias", "lr: 3e-4", "lr: *rate", ("tiny.yaml:19:", "rate")),
    Case("a Python tag", "seed: 1", "seed: !!python/object/apply:os.getpid []", ("!!python", "not allowed")),
    Case("two documents", "seed: 1", "seed: 1\n---\nname: b", ("second YAML document",)),
    Case("a list as file", GOOD, "- a\n- b\n", ("key: value",)),
    Case("an empty file", GOOD, "", ("name is missing", "data is missing")),
    Case("not text", GOOD, "\x00\x01", ("not YAML",)),
    Case("an alias of itself", "{color: 1, logo: 0.5}", "&w {color: *w}", ("inside of its own anchor",)),
    # Sections against each other
    Case(
        "a head of no task", "    default: {kind", "    colour: {kind", ("model.heads.colour", "mean color?")
    ),
    Case(
        "a weight of no task", "{color: 1, logo", "{colr: 1, logo", ("balancing.weights.colr", "mean color?")
    ),
    Case("weights all zero", "{color: 1, logo: 0.5}", "{color: 0, logo: 0}", ("nothing would be learned",)),
    Case("no task", "tasks:\n", "tasks: {}\nx:\n", ("tasks: no task", "2 errors")),
    Case(
        "an objective of no task",
        "[color.acc",
        "[colour.acc",
        ("search.objectives[0]", "mean color.accuracy?"),
    ),
    Case(
        "a cost of models that does not exist",
        "color.accuracy,",
        "model.paramters,",
        ("search.objectives[0]", "mean model.parameters?"),
    ),
    Case(
        "costs of models for early stopping",
        "on: score",
        "on: model.flops",
        ("search.stop_early.on", "the same in every epoch"),
    ),
    Case(
        "a task called model",
        "  logo: {type",
        "  model: {type: binary, label: logo}\n  logo: {type",
        ("tasks.model", "give the task another name"),
    ),
    Case(
        "gradients of a frozen backbone",
        "balancing: {method: static, weights: {color: 1, logo: 0.5}}",
        "balancing: {method: mgda}",
        ("training.optimizer.backbone_lr_factor", "mgda", "uncertainty"),
        overrides=("training.optimizer.backbone_lr_factor=0", "search.space=null"),
    ),
    Case(
        "a backbone that learns faster",
        "lr: 3e-4}",
        "lr: 3e-4, backbone_lr_factor: 2}",
        ("training.optimizer.backbone_lr_factor", "1"),
    ),
    Case("a step to nowhere", "lr: 3e-4}", "lr: 3e-4, sam: {rho: 0}}", ("training.optimizer.sam.rho", "0")),
    Case(
        "weights of no run",
        "  heads:",
        "  weights: 'runs:/'\n  heads:",
        ("model.weights", "runs:/<search>/<trial>"),
    ),
    Case(
        "an unknown stem",
        "{name: small_cnn, width: 8}",
        "{name: resnet18, stem: tiny}",
        ("model.backbone.stem", "small"),
    ),
    Case("an unknown metric", "color.accuracy,", "color.acc,", ("search.objectives[0]", "color.accuracy?")),
    Case("a task as objective", "on: score", "on: color", ("search.stop_early.on", "<task>.<metric>")),
    Case(
        "select an unknown metric",
        "metric: score",
        "metric: colr.f1",
        ("training.select.metric", "mean color.f1?"),
    ),
    Case(
        "select the worst",
        "metric: score, mode: max",
        "metric: logo.loss",
        ("training.select.mode", "mode: min"),
    ),
    Case("an unreachable rung", "min_epochs: 3", "min_epochs: 30", ("search.stop_early.min_epochs", "is 20")),
    Case(
        "more slots at least than at most",
        "slots: auto",
        "slots: [3, 1]",
        ("tiny.yaml:", "compute.slots: the first number must not be above the second, but 3 > 1"),
    ),
    Case("slots of a third kind", "slots: auto", "slots: [1]", ("compute.slots", "auto, a whole number")),
    Case("more workers than images", "workers: auto", "workers: 17", ("compute.workers", "batch of 16")),
    Case(
        "layers of a linear head", "kind: mlp", "kind: linear", ("model.heads.default.hidden", "a key of mlp")
    ),
    Case("a misspelt key of a linear head", "kind: mlp, hidden: [8]", "drpout: 0.1", ("dropout?",)),
    Case(
        "a key of another structure",
        "  heads:",
        "  sharing: {kind: mtan, experts: 3}\n  heads:",
        ("model.sharing.experts", "a key of mmoe"),
    ),
    Case(
        "an unknown structure",
        "  heads:",
        "  sharing: {kind: mmeo}\n  heads:",
        ("model.sharing.kind", "Did you mean mmoe?"),
    ),
    Case(
        "a branch of no task",
        "  heads:",
        "  sharing: {kind: branching, at: {default: 1, colour: 2}}\n  heads:",
        ("model.sharing.at.colour", "Did you mean color?"),
    ),
    Case(
        "gradients of features that are not shared",
        "balancing: {method: static, weights: {color: 1, logo: 0.5}}",
        "balancing: {method: mgda, gradients: features}",
        (
            "tiny.yaml:15:",
            "balancing.gradients: there are no features",
            "model.sharing is film",
            "parameters",
        ),
        overrides=("model.sharing.kind=film", "search=null"),
    ),
    Case(
        "gradients of features of heads that read different stages",
        "balancing: {method: static, weights: {color: 1, logo: 0.5}}",
        "balancing: {method: mgda, gradients: features}",
        ("balancing.gradients: there are no features", "different stages"),
        overrides=("model.heads.logo.tap=1", "search=null"),
    ),
    Case(
        "gradients of what no task shares",
        "balancing: {method: static, weights: {color: 1, logo: 0.5}}",
        "balancing: {method: cagrad}",
        ("model.sharing.at: cagrad", "share nothing", "Share a stage", "uncertainty"),
        overrides=("model.sharing={kind: branching, at: 0}", "search=null"),
    ),
    # The search space
    Case(
        "a method and a structure of a space that do not go together",
        "balancing: {method: static, weights: {color: 1, logo: 0.5}}",
        "balancing: {method: mgda, gradients: features}",
        (
            "search.space.model.sharing.kind: ",
            "balancing.method mgda and model.sharing.kind ple cannot come together",
            "when: {balancing.method: [famo]}",
        ),
        overrides=(
            "search.space={balancing.method: {choice: [famo, mgda]}, model.sharing.kind: {choice: [hard, ple]}}",
        ),
    ),
    Case(
        "searching an unknown key",
        "training.optimizer.lr:",
        "training.optimiser.lr:",
        ("tiny.yaml:28:5", "no such config key", "Did you mean training.optimizer.lr?"),
    ),
    Case(
        "searching a short key",
        "training.optimizer.lr:",
        "lr:",
        ("no such config key", "training.optimizer.lr?"),
    ),
    Case(
        "a bound that is not allowed",
        "log: [1e-5, 1e-2]",
        "float: [-1, 1]",
        ("tiny.yaml:28:37", "search.space.training.optimizer.lr.float[0]", "number > 0"),
    ),
    Case(
        "a choice that is not allowed",
        "training.optimizer.lr: {log: [1e-5, 1e-2]}",
        "model.heads.default.hidden: {choice: [[], [0]]}",
        ("choice[1]", "whole number ≥ 1"),
    ),
    Case("an unknown domain", "log: [1e-5, 1e-2]", "lgo: [1e-5, 1e-2]", ("unknown key", "Did you mean log?")),
    Case(
        "bounds the wrong way",
        "[1e-5, 1e-2]",
        "[1e-2, 1e-5]",
        ("search.space.training.optimizer.lr", "below"),
    ),
    Case(
        "a simplex of no task",
        "simplex: [color, logo]",
        "simplex: [color, lgo]",
        ("simplex", "Did you mean logo?"),
    ),
    Case("a simplex of one task", "simplex: [color, logo]", "simplex: [color]", ("simplex", "at least 2")),
    Case(
        "a floor too high", "min: 0.05", "min: 0.6", ("search.space.balancing.weights", "min must be below")
    ),
    Case(
        "searching the data",
        "training.optimizer.lr: {log: [1e-5, 1e-2]}",
        "data.source: {choice: [a, b]}",
        ("search.space.data.source", "cannot be searched", "data.image_size"),
    ),
    Case(
        "searching the seed",
        "training.optimizer.lr: {log: [1e-5, 1e-2]}",
        "seed: {int: [1, 2]}",
        ("search.space.seed", "cannot be searched", "splits"),
    ),
    Case(
        "searching labels",
        "training.optimizer.lr: {log: [1e-5, 1e-2]}",
        "tasks.color.label: {choice: [a, b]}",
        ("search.space.tasks.color.label", "cannot be searched"),
    ),
    Case(
        "a key and its part",
        "training.optimizer.lr:",
        "balancing.weights.color: {float: [0, 1]}\n    #",
        ("search.space.balancing.weights.color", "already set by balancing.weights"),
    ),
    Case(
        "an unknown condition",
        "{log: [1e-5, 1e-2]}",
        "{log: [1e-5, 1e-2], when: {training.optimizer.nme: sgd}}",
        ("when.training.optimizer.nme", "training.optimizer.name?"),
    ),
    Case(
        "a combination that is not allowed",
        "    training.optimizer.lr:",
        "    training.optimizer.name: {choice: [adamw, sgd]}\n"
        "    training.optimizer.betas: {choice: [[0.9, 0.99]]}\n    training.optimizer.lr:",
        ("training.optimizer.betas", "Use `when`"),
    ),
    Case(
        "an unknown ready-made space",
        GOOD[GOOD.index("  space:") : GOOD.index("compute:")],
        "  space: [task_wieghts]\n",
        ("search.space[0]", "Did you mean task_weights?"),
    ),
    Case(
        "an endless grid",
        GOOD[GOOD.index("  sampler:") : GOOD.index("compute:")],
        "  sampler: grid\n  space: {training.epochs: {int: [1, 9999], points: 9999},"
        " training.batch_size: {int: [1, 9999], points: 9999}}\n",
        ("search.space", "the grid has more than"),
    ),
    # Overrides
    Case(
        "an override of an unknown key",
        "",
        "",
        ("-s training.epoch=3: training.epoch: unknown key",),
        overrides=("training.epoch=3",),
    ),
    Case(
        "an override of the wrong type",
        "",
        "",
        ("-s training.epochs=x:", "whole number"),
        overrides=("training.epochs=x",),
    ),
    Case(
        "an override without value",
        "",
        "",
        ("-s training.epochs:", "key=value"),
        overrides=("training.epochs",),
    ),
    Case("an override that is no YAML", "", "", ("-s seed=[1:", "YAML"), overrides=("seed=[1",)),
    Case(
        "removing what is not there",
        "",
        "",
        ("-s training.epoch=null:", "training.epochs?"),
        overrides=("training.epoch=null",),
    ),
    Case("an override inside a number", "", "", ("-s seed.x=1:", "no keys"), overrides=("seed.x=1",)),
    Case("an override past a list", "", "", ("a list of 2",), overrides=("search.objectives.7=score",)),
)

SOURCES = """\
  sources:
    - {name: one, source: labels.csv, root: images, tasks: [color]}
    - {name: two, source: labels.csv, root: images, tasks: [logo]}
"""
SINGLE = GOOD[GOOD.index("  source:") : GOOD.index("  image_size:")]


def of_sources(name: str, old: str, new: str, says: tuple[str, ...], code: int = CONFIG) -> Case:
    """`GOOD` over the two `SOURCES`, with one thing wrong."""
    assert old in SOURCES, name
    return Case(name, SINGLE, SOURCES.replace(old, new, 1), says, code)


SOURCE_FILE_CASES = (
    Case("neither source nor sources", SINGLE, "", ("tiny.yaml:4:3: data:", "write source")),
    Case(
        "a source and sources",
        "  source: labels.csv\n",
        SOURCES + "  source: labels.csv\n",
        ("tiny.yaml:7:11: data.source:", "Write source in data.sources"),
    ),
    Case(
        "mixing one source",
        "  image_size",
        "  mixing: uniform\n  image_size",
        ("data.mixing", "data.sources"),
    ),
    of_sources(
        "a source without a name", "{name: one, ", "{", ("tiny.yaml:5:7: data.sources[0]", "name is missing")
    ),
    of_sources(
        "a source without a place", "source: labels.csv, ", "", ("data.sources[0]", "source is missing")
    ),
    of_sources("a source without tasks", ", tasks: [logo]", "", ("data.sources[1]", "tasks is missing")),
    of_sources("a source for no task", "[logo]", "[]", ("data.sources[1].tasks", "at least 1")),
    of_sources(
        "two sources of one name", "name: two", "name: one", ("tiny.yaml:6:14: data.sources[1].name", "two")
    ),
    of_sources(
        "a source of an unknown task",
        "[logo]",
        "[lgo, logo]",
        ("tiny.yaml:6:61: data.sources[1].tasks[0]", "Did you mean logo?"),
    ),
    of_sources(
        "a column of an unknown task",
        "[logo]",
        "{logo: logo, lgo: logo}",
        ("data.sources[1].tasks.lgo", "Did you mean logo?"),
    ),
    of_sources(
        "a task of no source", "[logo]", "[color]", ("tiny.yaml:10:3: tasks.logo", "no source is labelled")
    ),
    of_sources("a misspelt key of a source", "root", "rot", ("data.sources[0].rot", "Did you mean root?")),
    of_sources(
        "an unknown mixing",
        "  sources:",
        "  mixing: unifrom\n  sources:",
        ("data.mixing", "the key temperature", "Did you mean uniform?"),
    ),
    of_sources(
        "a ratio of no source",
        "  sources:",
        "  mixing: {one: 1, tow: 2}\n  sources:",
        ("tiny.yaml:4:25: data.mixing.tow", "Sources: one, two"),
    ),
    of_sources(
        "a ratio missing", "  sources:", "  mixing: {one: 1}\n  sources:", ("data.mixing", "no ratio for two")
    ),
    of_sources(
        "a ratio of nothing", "  sources:", "  mixing: {one: 1, two: 0}\n  sources:", ("mixing.two", "> 0")
    ),
    of_sources(
        "a temperature below 1",
        "  sources:",
        "  mixing: {temperature: 0.5}\n  sources:",
        ("temperature", "≥ 1"),
    ),
    Case(
        "searching the mixing of one source",
        "training.optimizer.lr: {log: [1e-5, 1e-2]}",
        "data.mixing: {choice: [uniform]}",
        ("search.space.data.mixing", "only several data.sources"),
    ),
)

SOURCE_DATA_CASES = (
    of_sources(
        "no table of a source", "labels.csv", "lables.csv", ("tiny.yaml:5:27: data.sources[0].source",), DATA
    ),
    of_sources(
        "no image column of a source",
        "tasks: [logo]",
        "tasks: [logo], image: file",
        ("tiny.yaml:6:75: data.sources[1].image", "'file'"),
        DATA,
    ),
    of_sources("no image folder of a source", "images", "imgs", ("data.sources[0].root", "imgs"), DATA),
    of_sources("no column of a source", "[logo]", "{logo: lgo}", ("data.sources[1].tasks", "'lgo'"), DATA),
)

DATA_CASES = (
    Case("no such table", "labels.csv", "lables.csv", ("tiny.yaml:4:11: data.source", "labels.csv"), DATA),
    Case("no such folder", "labels.csv", "nowhere", ("data.source", "nowhere"), DATA),
    Case("no such image folder", "root: images", "root: imgs", ("data.root", "imgs"), DATA),
    Case("no such label column", "label: color", "label: colour", ("tasks.color.label", "'color'"), DATA),
    Case("no such image column", "root: images", "root: images\n  image: file", ("data.image", "path"), DATA),
    Case(
        "no such split column",
        "split: {train: 0.6, val: 0.2, test: 0.2}",
        "split: {column: fold}",
        ("data.split.column", "fold"),
        DATA,
    ),
    Case("one class only", "label: color", "label: same", ("tasks.color.label", "one class"), DATA),
    Case("no labels at all", "label: color", "label: nothing", ("tasks.color", "label"), DATA),
    Case(
        "three values of a binary task",
        'label: logo, positive: "1"',
        "label: color",
        ("tasks.logo.positive", "3 values"),
        DATA,
    ),
    Case(
        "a positive value that is not there",
        'positive: "1"',
        "positive: yes",
        ("tasks.logo.positive", "'yes'"),
        DATA,
    ),
    Case(
        "an undeclared class",
        "label: color}",
        "label: color, classes: [red, green]}",
        ("tasks.color.classes", "blue"),
        DATA,
    ),
    Case(
        "an empty split",
        "split: {train: 0.6, val: 0.2, test: 0.2}",
        "split: {column: all_train}",
        ("data.split", "val"),
        DATA,
    ),
    Case(
        "nothing kept",
        "root: images",
        "root: images\n  keep: {color: [violet]}",
        ("data.keep", "violet"),
        DATA,
    ),
    Case("a truncated image", "labels.csv", "truncated.csv", ("cannot be read", "cut.png"), DATA),
    Case("a decompression bomb", "labels.csv", "bomb.csv", ("cannot be read", "bomb.png", "pixels"), DATA),
    Case("a missing image", "labels.csv", "gone.csv", ("gone.png",), DATA),
    Case("a path outside of root", "labels.csv", "outside.csv", ("outside", "data.root"), DATA),
    Case("a path of the system", "labels.csv", "absolute.csv", ("outside", "data.root"), DATA),
    Case("ragged rows", "labels.csv", "ragged.csv", ("line 3", "cells"), DATA),
    Case("a table of no rows", "labels.csv", "empty.csv", ("no rows",), DATA),
    Case("not a Parquet table", "labels.csv", "fake.parquet", ("not a Parquet table",), DATA),
    Case("a cache that is a file", "root: images", "root: images\n  cache: labels.csv", ("cache",), DATA),
    Case("images of several sizes", "  image_size: 8\n", "", ("image_size",), DATA),
    # The model is the file's, not the data's
    Case(
        "weights of a run that is not there",
        "  heads:",
        "  weights: runs:/tiny-999/t000\n  heads:",
        ("model.weights", "no run 'tiny-999'"),
    ),
    Case(
        "no such weights",
        "  heads:",
        "  weights: net.safetensors\n  heads:",
        ("model.weights", "net.safetensors"),
    ),
    Case(
        "a backbone that cannot be imported",
        "{name: small_cnn, width: 8}",
        "nowhere.nets:build",
        ("model.backbone", "nowhere"),
    ),
    Case(
        "a function that the module does not have",
        "{name: small_cnn, width: 8}",
        "json:build",
        ("model.backbone", "build"),
    ),
)
