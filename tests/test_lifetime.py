"""Commands that a process runs: they outlive who looks at them, and hear what it hears."""

import os
import signal
import subprocess
import sys

from curr_reft.lifetime import run_child

TALKS = (
    "import sys, time\nfor _ in range(50):\n print('x' * 5000, flush=True)\nopen(sys.argv[1], 'w').close()"
)


def test_what_a_command_prints_is_in_its_log_and_shown(tmp_path, capfdbinary):
    log = tmp_path / "log"
    log.write_text("before\n")
    code, received = run_child([sys.executable, "-c", "print('said'); raise SystemExit(3)"], os.environ, log)
    assert (code, received) == (3, None)
    assert log.read_text() == "before\nsaid\n"
    assert capfdbinary.readouterr().out == b"said\n"


def test_a_command_goes_on_when_nobody_reads_what_it_prints(tmp_path):
    done = tmp_path / "done"
    words = [sys.executable, "-c", TALKS, str(done)]
    program = (
        "import os; from pathlib import Path; from curr_reft.lifetime import run_child;"
        f" os._exit(run_child({words!r}, os.environ, Path({str(tmp_path / 'log')!r}))[0])"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert done.exists()
    assert (tmp_path / "log").stat().st_size == 50 * 5001


def test_a_signal_goes_on_to_the_command(tmp_path):
    program = (
        "import os, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7));"
        " os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)"
    )
    log = tmp_path / "log"
    assert run_child([sys.executable, "-c", program], os.environ, log) == (7, signal.SIGTERM)


def test_a_hang_up_that_is_ignored_stays_so(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        program = "import os, signal; os.kill(os.getppid(), signal.SIGHUP)"
        assert run_child([sys.executable, "-c", program], os.environ, tmp_path / "log") == (0, None)
    finally:
        signal.signal(signal.SIGHUP, before)
