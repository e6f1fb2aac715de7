"""The verbs of the ``gr2`` command, as data. Standard library only: it is read before anything is installed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verb:
    """One verb.

    Attributes:
        name: what the user types.
        help: one line.
        module: has ``add_arguments(parser)`` and ``run(args) -> int``.
        requirements: files of ``requirements/`` that it needs beside the common ones.
    """

    name: str
    help: str
    module: str
    requirements: tuple[str, ...] = ()


VERBS = (
    Verb("sim", "run the whole stack with the simulated cell", "gr2_bringup.sim"),
    Verb("real", "run the stack of the real arm, on a fake driver", "gr2_bringup.real"),
    Verb("say", "give a running stack an instruction", "gr2_bringup.say"),
    Verb("record", "record a running stack into a rosbag2", "gr2_tools.record"),
    Verb("replay", "play a rosbag2 back", "gr2_tools.replay"),
    Verb("console", "serve the operator's console, a web page, for what runs", "gr2_tools.console.console_cli"),
    Verb("film", "make a video of a recorded run", "gr2_tools.film"),
    Verb("export", "convert a rosbag2 for Rerun", "gr2_tools.rerun_export"),
    Verb("demos", "record demonstrations of the scripted teacher", "gr2_sim.demos"),
    Verb("video", "render action-free video of manipulation, with captions", "gr2_sim.hands.video"),
    Verb("curate", "make training clips of videos, at any scale", "gr2_policy.curation.command", ("curate.txt",)),
    Verb("dataset", "look at demonstrations, and convert them", "gr2_tools.dataset"),
    Verb("train-tokenizer", "learning, stage 1: the image tokenizer", "gr2_policy.training.train_tokenizer"),
    Verb("pretrain", "learning, stage 2: predict video from text and frames", "gr2_policy.training.pretrain"),
    Verb("finetune", "learning, stage 3: video and actions from few demonstrations", "gr2_policy.training.finetune"),
    Verb("demo-train", "the whole learning path, small, in one command", "gr2_bringup.demo_train"),
    Verb(
        "experiment",
        "put a claim of the paper to the test",
        "gr2_bringup.experiments.experiment_cli",
        requirements=("experiments.txt",),
    ),
    Verb("eval", "measure a policy's success rate in simulation", "gr2_sim.evaluate"),
    Verb("model", "facts about the models", "gr2_policy.model.model_cli"),
    Verb("calibration", "check the cameras' calibration", "gr2_bringup.calibration"),
    Verb("keystore", "certificates and permissions for a secured stack", "gr2_bringup.keystore"),
    Verb("doctor", "tell what works on this machine", "gr2_tools.doctor"),
    Verb("bench", "measure this machine", "gr2_bringup.bench"),
    Verb("test", "run the tests", "gr2_bringup.testing", requirements=("test.txt", "curate.txt")),
    Verb("shell", "a shell in which rclpy and gr2_msgs can be imported", "gr2_bringup.shell"),
)


def top_level_help() -> str:
    width = max(len(verb.name) for verb in VERBS)
    rows = "\n".join(f"  {verb.name.ljust(width)}  {verb.help}" for verb in VERBS)
    return f"""usage: ./gr2 VERB [options]

gr2: a generative video-language-action model driving a robot arm through ROS 2.
The first call makes a private environment in .venv (a few minutes); later ones start at once.

{rows}

  ./gr2 VERB --help teaches each of them. Begin with:
  ./gr2 sim --headless --instruction "press the red button"
"""
