"""how fast the model makes chunks and imagines, against the machine's ceilings, ACT and GPT-2

Time to chunk is one call of the stream, from pixels to poses, with a history; the frames in which a window of history
begins anew are among them. Imagination is the tokens of the next frame of every view, and their pixels. Ours and the
peers take turns, so that all see the same machine; processor time is given beside the time on the wall, because another
program on the same core counts in the latter only. Weights are untrained: the times do not depend on them.

examples:
  ./gr2 bench policy                               mini and B on the processor, with one thread
  ./gr2 bench policy --sizes mini --with-stack     beside the simulator and the controller
  ./gr2 bench policy --device cuda --sizes S,B,L,XL --threads 4
  ./gr2 bench policy --sizes B --set tokenizer.resolution=256

On a machine that has PyTorch (with rich, PyYAML, Pillow, transformers) and no ROS, such as a rented GPU:
  PYTHONPATH=src/gr2_policy:. python -m benchmarks.policy.main --device cuda --sizes S,B,L,XL --threads 4
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from benchmarks.policy.ceilings import Ceilings, alone, measure_ceilings
from benchmarks.policy.ours import Subject
from benchmarks.policy.peers import Act, GenerateGPT2, PeerFailed
from benchmarks.report import machine, write_json
from rich.console import Console
from rich.table import Table

from gr2_policy.model.acceleration import PRECISIONS, default_device, step_bytes
from gr2_policy.model.config import SIZES, ModelConfig, load_size

FIGURES = ("chunk_p50_ms", "chunk_p99_ms", "imagine_ms_per_frame", "memory_mb", "floor_ratio")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 bench policy``."""
    parser.add_argument("--sizes", default="mini,B", help=f"some of {','.join(SIZES)} (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ..., auto (default: %(default)s)")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS, help="default: what is served with")
    parser.add_argument("--compiled", action="store_true", help="GPU: compile the step of imagination")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the processor (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=6, help="turns of ours and of the peers (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a size's setting")
    parser.add_argument("--no-peers", action="store_true", help="without ACT and GPT-2")
    parser.add_argument("--quick", action="store_true", help="few repeats: to see that it works, not how fast it is")
    parser.add_argument("--with-stack", action="store_true", help="also measure beside the simulator and the WBC")
    parser.add_argument("--domain", type=int, default=94, help="ROS domain of that stack (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    device = default_device() if args.device == "auto" else torch.device(args.device)
    torch.set_num_threads(args.threads)
    overrides = {name: yaml.safe_load(value) for name, value in (item.split("=", 1) for item in args.set)}
    of = cache(lambda dtype: measure_ceilings(device, dtype, args.quick))  # of a precision
    ceilings = of(torch.bfloat16 if device.type == "cuda" else torch.float32)
    Subject(load_size("nano"), device, "auto", False)  # loads libraries, so that no size is charged for them
    report: dict[str, Any] = {
        "machine": machine() | {"device": str(device), "threads": args.threads, "torch": torch.__version__},
        "ceilings": {"read_gb_per_s": 1e-9 * ceilings.bandwidth, "gflop_per_s": 1e-9 * ceilings.flops},
        "overrides": overrides,
        "sizes": {},
    }
    try:
        for size in args.sizes.split(","):
            report["sizes"][size] = measure(size, overrides, device, of, args)
    except PeerFailed as error:
        print(f"gr2 bench policy: {error}", file=sys.stderr)
        return 1
    report["machine"]["load_at_the_end"] = os.getloadavg()[0]
    Console(width=170).print(table(report))
    if args.json:
        write_json(args.json, report)
    return 0


def measure(
    size: str,
    overrides: dict[str, Any],
    device: torch.device,
    of: Callable[[torch.dtype], Ceilings],
    args: argparse.Namespace,
) -> dict[str, Any]:
    """All figures of one size, against the ceilings of its precision (int8's: those of float32)."""
    config = load_size(size, overrides)
    subject = Subject(config, device, args.precision, args.compiled)
    ceilings = of(torch.bfloat16 if subject.precision == "bfloat16" else torch.float32)
    rounds, count = (1, 4) if args.quick else (args.rounds, chunks_a_turn(config))
    passes = 4 if args.quick else 24
    with ExitStack() as stack:
        peers: list[GenerateGPT2] = []
        act = None
        if not args.no_peers:
            views = len(config.views)
            peers = [GenerateGPT2(config, subject.model.layout, device, sequences) for sequences in (1, views)]
            if device.type == "cpu":
                act = Act(Path(os.environ.get("GR2_ROOT", ".")), config.tokenizer.resolution, args.threads)
                stack.callback(act.close)
        decoding = []
        for _ in range(rounds):
            for _ in range(count):
                subject.step()
                if act is not None:
                    act.step()
            subject.imagine(passes)
            for peer in peers:
                peer.generate(4 if args.quick else 24)
            decoding.append(subject.decode())
    report = figures(subject, ceilings) | {"decode_ms": 1e3 * float(np.median(decoding))}
    report["imagine_ms_per_frame"] += report["decode_ms"]
    report["ratio"] = ratios(subject, peers, act)
    if act is not None:
        report["act"] = times("chunk", act.chunks, act.chunk_cpu) | {"parameters": act.parameters}
    for peer, name in zip(peers, ("gpt2", "gpt2_side_by_side"), strict=False):
        report[name] = times("token", peer.tokens, peer.token_cpu)
    if args.with_stack:
        from benchmarks.policy.beside_stack import beside_stack

        report["with_stack"] = beside_stack(subject, args.domain, 4.0 if args.quick else 15.0)
    return report


def chunks_a_turn(config: ModelConfig) -> int:
    """So many that three windows of history are gone through; at least one has room for a frame."""
    return 3 * max(config.timesteps - 2, 1)


def times(name: str, wall: list[float], cpu: list[float]) -> dict[str, float]:
    """Percentiles [ms]."""
    return {
        f"{name}_p50_ms": 1e3 * float(np.percentile(wall, 50)),
        f"{name}_p99_ms": 1e3 * float(np.percentile(wall, 99)),
        f"{name}_cpu_p50_ms": 1e3 * float(np.percentile(cpu, 50)),
        f"{name}_min_ms": 1e3 * min(wall),
    }


def figures(subject: Subject, ceilings: Ceilings) -> dict[str, Any]:
    """Of ours; ``floor_ratio`` is the time of a pass over that of reading the weights it needs.

    Shares and ratios take the thread's processor time where there is one thread, else the time on the wall.
    """
    config, layout = subject.config, subject.model.layout
    one_pass = times("pass", subject.tokens, subject.token_cpu)
    weights = step_bytes(subject.model)
    cached = (config.timesteps - 1) * layout.observed * 2 * config.trunk.layers * config.trunk.width
    cached *= subject.model.code_out.weight.element_size()
    chunk = times("chunk", subject.chunks, subject.chunk_cpu)
    clock = "cpu_p50_ms" if alone(subject.device) else "p50_ms"
    seconds = 1e-3 * one_pass[f"pass_{clock}"]
    return {
        "precision": subject.precision,
        **chunk,
        "chunks": len(subject.chunks),
        "chunk_gflop": 1e-9 * subject.flops,
        "chunk_share_of_flops": subject.flops / ceilings.flops / (1e-3 * chunk[f"chunk_{clock}"]),
        **one_pass,
        "imagine_ms_per_frame": layout.grid * one_pass["pass_p50_ms"],
        "imagine_tokens_per_s": layout.views / seconds,
        "memory_mb": 1e-6 * subject.memory,
        "weights_per_pass_mb": 1e-6 * weights,
        "cache_per_pass_mb": 1e-6 * cached,
        "floor_ratio": seconds / (weights / ceilings.bandwidth),
        "floor_ratio_with_cache": seconds / ((weights + cached) / ceilings.bandwidth),
    }


def ratios(subject: Subject, peers: list[GenerateGPT2], act: Act | None) -> dict[str, float]:
    """Time of a peer over ours, above 1: ours is faster. By the threads' own time where there is one of them.

    ``hf_generate`` compares the time of one token when the tokens of a frame come one after the other, as GPT-2 has to
    make them; ``hf_generate_side_by_side`` lets it make as many sequences at once as ours has views.
    """
    on_cpu = alone(subject.device)
    found: dict[str, float] = {}
    token = float(np.median(subject.token_cpu if on_cpu else subject.tokens)) / subject.model.layout.views
    for peer, name in zip(peers, ("hf_generate", "hf_generate_side_by_side"), strict=False):
        found[name] = float(np.median(peer.token_cpu if on_cpu else peer.tokens)) / token
    if act is not None:
        chunks = (act.chunk_cpu, subject.chunk_cpu) if on_cpu else (act.chunks, subject.chunks)
        found["act"] = float(np.median(chunks[0])) / float(np.median(chunks[1]))
    return found


def table(report: dict[str, Any]) -> Table:
    """For people."""
    host, ceilings = report["machine"], report["ceilings"]
    result = Table(
        title=f"{host['processor']}, {host['device']}, {host['threads']} thread(s), load {host['load']:.1f}",
        caption=f"memory {ceilings['read_gb_per_s']:.1f} GB/s, products {ceilings['gflop_per_s']:.0f} GFLOP/s; "
        "ratio: time of the peer over ours",
    )
    columns = ("size", "chunk p50", "p99", "cpu", "of FLOP ceiling", "frame imagined", "pass", "x floor", "memory")
    for column in (*columns, "x generate", "x ACT", "with stack p50", "p99", "Hz", "RTF"):
        result.add_column(column, justify="right")
    for size, row in report["sizes"].items():
        ratio, beside = row["ratio"], row.get("with_stack", {})
        result.add_row(
            f"{size} {row['precision']}",
            f"{row['chunk_p50_ms']:.1f} ms",
            f"{row['chunk_p99_ms']:.1f} ms",
            f"{row['chunk_cpu_p50_ms']:.1f} ms",
            f"{100 * row['chunk_share_of_flops']:.0f} %",
            f"{row['imagine_ms_per_frame']:.0f} ms",
            f"{row['pass_p50_ms']:.2f} ms",
            f"{row['floor_ratio']:.1f}",
            f"{row['memory_mb']:.0f} MB",
            f"{ratio['hf_generate']:.1f}, {ratio['hf_generate_side_by_side']:.1f}" if "hf_generate" in ratio else "",
            f"{ratio['act']:.2f}" if "act" in ratio else "",
            f"{beside['chunk_p50_ms']:.0f} ms" if beside else "",
            f"{beside['chunk_p99_ms']:.0f} ms" if beside else "",
            f"{beside['reached_hz']:.1f}" if beside else "",
            f"{beside['beside']['real_time_factor']:.2f}" if beside else "",
        )
    return result


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(_parser)
    sys.exit(run(_parser.parse_args()))
