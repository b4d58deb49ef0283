"""The peers, and the process in which one of them keeps the data of one shape."""

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
SLOW = 60.0  # seconds; a peer whose first call takes longer is not repeated

PEERS = {
    "sparselmm": ("run_sparselmm.py", {}),
    "lme4": ("lme4.R", {}),
    "lme4-noderivs": ("lme4.R", {"calc_derivs": False}),
    "mixedlm": ("run_mixedlm.py", {}),
    "gpboost": ("run_gpboost.py", {}),
    "gpboost-iterative": ("run_gpboost.py", {"method": "iterative"}),
    "statsmodels": ("run_statsmodels.py", {}),
}


def environment() -> dict[str, str]:
    """The environment of a Python worker: the checkout comes first on the path, compiled bytecode may be kept."""
    existing = os.environ.get("PYTHONPATH")
    paths = [str(HERE.parent), str(HERE), *([existing] if existing else [])]
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "PYTHONPATH": os.pathsep.join(paths)}


class Worker:
    """One peer's process with the data of one shape; `result` is what becomes of it in the record."""

    def __init__(self, peer: str):
        script, self.options = PEERS[peer]
        program = "Rscript" if script.endswith(".R") else sys.executable
        if shutil.which(program) is None:
            raise SystemExit(f"The peer {peer} needs {program} on the path; leave it out with --peers.")
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [program, str(HERE / "peers" / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=environment(),
        )
        self.replies: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.result: dict = {"status": "ok", "seconds": []}

    def _listen(self) -> None:
        for line in self.process.stdout:
            if line.startswith("{"):
                self.replies.put(line)
        self.replies.put(None)

    @property
    def running(self) -> bool:
        return self.result["status"] == "ok"

    def ask(self, message: dict, timeout: float) -> dict:
        """The worker's answer; a failure or a time-out is put into `result` and ends the worker."""
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
            line = self.replies.get(timeout=timeout)
            answer = {"error": f"worker ended with code {self.process.wait()}"} if line is None else json.loads(line)
        except queue.Empty:
            answer = {"timeout": timeout}
        except BrokenPipeError:
            answer = {"error": f"worker ended with code {self.process.wait()}"}
        for status in ("timeout", "unsupported", "error"):
            if status in answer:
                self.result.update(status=status, reason=answer[status])
                self.stop()
        return answer

    def load(self, task: dict, timeout: float) -> None:
        answer = self.ask({**task, **self.options}, timeout)
        if self.running:
            self.result |= answer

    def fit(self, timeout: float, first: bool = False) -> None:
        """One fit; the first one only warms up, unless it is slow."""
        answer = self.ask({"fit": 1}, timeout).get("result")
        if answer is None:
            return
        seconds = answer.pop("seconds")
        if first:
            self.result["first_call"] = seconds
            self.result["once"] = seconds > SLOW
        if not first or self.result["once"]:
            self.result["seconds"].append(seconds)
        self.result |= answer

    def stop(self) -> None:
        """End the process and show its last words when it failed."""
        self.process.kill()
        self.process.wait()
        if self.result["status"] == "error" and not self.log.closed:
            self.log.seek(0)
            print(self.log.read()[-2000:], file=sys.stderr)
        self.log.close()
