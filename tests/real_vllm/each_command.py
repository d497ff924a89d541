"""Run commands one after the other in one process, since importing vLLM takes long; prints their exit codes.

python each_command.py < JSON    a list of {"environment": {...}, "argv": [SCRIPT, ...]}
"""

import json
import os
import runpy
import sys

for command in json.load(sys.stdin):
    os.environ.update(command["environment"])
    sys.argv = command["argv"]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code
    sys.stderr.flush()
    sys.stdout.write(f"{code}\n")
