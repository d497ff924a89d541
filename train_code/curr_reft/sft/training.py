"""Supervised fine-tuning by ms-swift, from command line to checkpoint: check everything, then start swift."""

import logging
import os
import re
import sys
from collections.abc import Sequence
from contextlib import nullcontext

from curr_reft.errors import CommandError, DivergedError, InputError, StoppedError, command, out_of_room
from curr_reft.files.journal import sole_writer
from curr_reft.files.json import read_object
from curr_reft.files.manifest import FILE_NAME, checkpoints_below, mark_ended, mark_finished, write_manifest
from curr_reft.lifetime import own_children
from curr_reft.models.merge import merged_start
from curr_reft.sft.output import LOG, clear_for, keep_final
from curr_reft.sft.plan import SftRun, describe, going_on, prepare
from curr_reft.sft.swift import environment_of, run_swift
from curr_reft.training.checkpoint_state import is_whole
from curr_reft.training.divergence import DIVERGED
from curr_reft.training.resume import started
from curr_reft.training.stopping import stopped_by_signals

logger = logging.getLogger(__name__)

_LOG_END = 8192
_USAGE = """\
usage: {script}.py [--config FILE.yaml] [--dry_run] [flags of `swift sft`, of 4.6.0 or 3.2.0]

  --config FILE.yaml       flags by name; those on the command line win; ENV holds environment variables
  --dry_run                check everything, print the command and its environment, start nothing
  --accept_changes         go on with an unfinished run although settings differ; the manifest says which
  --stop_grace_seconds N   time from SIGTERM to the end, for the step at work and a checkpoint (300)
  --resumable_checkpoints N   newest checkpoints that a run can go on from; older ones keep weights (all)
  --tasks FILE.py ...      tasks of your own, which the suites may be of
  --held_out_suites FILE   suites YAML; rows that give a held-out row away stop the run (none: no comparison)
  --data_root DIR          folder that the suites' files are below

The flags of swift: https://swift.readthedocs.io/en/latest/Instruction/Command-line-parameters.html
"""


def train(run: SftRun) -> int:
    """Run swift, and leave manifest, log and final weights in the output directory. Returns its exit code.

    Raises:
        InputError: when swift wrote no checkpoint, the directory holds what is not to be gone on with, or the
            disk is full.
        StoppedError: when a signal ended it.
        DivergedError: when a loss was no number.
    """
    # One node writes, so that one holds the directory.
    with sole_writer(run.output_dir) if run.is_first_node else nullcontext() as lock:
        run = going_on(run)
        logger.info("%s", describe(run))
        code = 0 if run.is_through else _start_swift(run, lock)
        if not code and run.is_first_node:
            last = keep_final(run.output_dir)
            state = read_object(last / "trainer_state.json")
            mark_finished(run.output_dir, {"global_step": state.get("global_step"), "checkpoint": last.name})
            logger.info("%s is done: %s", run.record["stage"], run.output_dir)
    return code


def _start_swift(run: SftRun, lock: int | None) -> int:
    log = run.output_dir / LOG
    if run.is_first_node:
        if (run.output_dir / FILE_NAME).exists() and not run.names_its_start:
            clear_for(run.start, run.output_dir)
        write_manifest(run.output_dir, run.record | started(run.resumed_from, run.start.changes))
        if run.adapter is not None:
            merged_start(run.adapter.path, run.output_dir, run.start.checkpoint, "--model")
    else:
        log = log.with_name(f"swift-node{os.environ['NODE_RANK']}.log")
        log.parent.mkdir(parents=True, exist_ok=True)
    environment = environment_of(run.swift, run.variables | run.ending)
    code, received = run_swift(run.command, environment, log, lock)
    if not code and received is None:
        return 0
    if received is not None:
        done = next(filter(is_whole, reversed(checkpoints_below(run.output_dir))), None)
        where = "has no checkpoint yet and begins again" if done is None else f"goes on from {done}"
        error: CommandError | None
        error = StoppedError(f"stopped by {received.name}; the same command {where}")
        status = "stopped"
    else:
        end = log.read_bytes()[-_LOG_END:].decode("utf-8", "replace")
        told = f"swift ended with exit code {code}; what it printed is in {log}"
        error, status = None, "failed"
        if diverged := re.search(rf"{DIVERGED}(.+)", end):
            error, status = DivergedError(diverged[1]), "diverged"
        elif out_of_room(OSError(end)):
            error = InputError(f"{run.output_dir}: no space left on the disk or quota ({told})")
    if run.is_first_node:
        mark_ended(run.output_dir, status, reason=str(error or told))
    if error is not None:
        raise error
    sys.stderr.write(f"error: {told}\n")
    return code


@command
def run_sft(stage: str, argv: Sequence[str] | None = None) -> None:
    """The main function of a fine-tuning script; `stage` is its name in the manifest."""
    argv = sys.argv[1:] if argv is None else argv
    if {"-h", "--help"} & set(argv):
        sys.stdout.write(_USAGE.format(script=stage))
        return
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    own_children()
    with stopped_by_signals():
        run, dry_run = prepare(stage, argv)
        if dry_run:
            sys.stdout.write(describe(going_on(run)) + "\n")
            return
        code = train(run)
    if code:
        sys.exit(code)
