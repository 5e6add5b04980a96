"""One job comes in as the first line of standard input; questions go out and answers come in as lines of JSON.

Runs in an environment that has the outside clients and nothing of ours.
"""

import json
import sys
import traceback


def ask(question, **rest):
    """Ask whoever runs us, and wait for the answer."""
    _write({"ask": question, **rest})
    return json.loads(sys.stdin.readline())


def serve(work):
    """Do the job and say what came of it."""
    try:
        _write({"done": work(json.loads(sys.stdin.readline()))})
    except Exception as error:  # noqa: BLE001 - whatever a client raises is what the test wants to know
        code = getattr(error, "error", None)
        told = {"name": type(error).__name__, "message": str(error), "error": code, "stack": traceback.format_exc()}
        _write({"failed": told})


def _write(document):
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
