"""Fuzzes a server of its own, for as long as it is told: ``python scripts/fuzz_api.py --seconds 600 --seed 7``.

Two kinds of requests, one after the other:

* bodies that are nearly right, and garbage (`tests/hostile/bodies.py`): always;
* what schemathesis makes of the OpenAPI document that the server serves: where it is installed. It is no dependency of
  vdb; put it into an environment of its own and give its command: ``--schemathesis /path/to/bin/schemathesis``.

Any answer of 500 or more but 503 and 507, an answer that is not in the envelope, or one that takes longer than
``--answer-max`` seconds is told, with the request. Exits with 1 where there was one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.vdb_process import VdbProcess, serving
from tests.hostile.bodies import COLLECTION, GARBAGE, TEMPLATES, mutated

BY_DESIGN = (503, 507)
ROUNDS = 20  # of each template, before the collection is made anew
PATH = "/collections/hostile"


def fuzz(server: VdbProcess, seconds: float, seed: int, answer_max_s: float) -> int:
    """Sends bodies for ``seconds``; how many answers were wrong."""
    wrong = sent = 0
    end = time.monotonic() + seconds
    with httpx.Client(base_url=server.url, timeout=120) as client:
        while time.monotonic() < end:
            prepare(client)
            chance = random.Random(f"{seed}/{sent}")
            for method, path, template in TEMPLATES:
                for _ in range(ROUNDS):
                    body = mutated(template, chance) if chance.random() < 0.95 else chance.choice(GARBAGE)
                    if why := complaint(client, method, PATH + path, body, answer_max_s):
                        wrong += 1
                        print(f"{method} {PATH}{path} {body[:2_000]!r}\n  {why}", flush=True)
                    sent += 1
    print(f"seed {seed}: {sent} requests, {wrong} wrong answers")
    return wrong


def prepare(client: httpx.Client) -> None:
    """A collection as the templates want it, with two points."""
    client.request("DELETE", PATH)
    client.request("PUT", PATH, json=COLLECTION).raise_for_status()
    for method, path, template in TEMPLATES[:2]:
        client.request(method, PATH + path, json=template).raise_for_status()


def complaint(client: httpx.Client, method: str, path: str, body: bytes, answer_max_s: float) -> str | None:
    """What is wrong with the answer."""
    began = time.monotonic()
    response = client.request(method, path, content=body, headers={"content-type": "application/json"})
    took_s = time.monotonic() - began
    if response.status_code >= 500 and response.status_code not in BY_DESIGN:
        return f"{response.status_code} {response.text[:500]}"
    if took_s > answer_max_s:
        return f"{response.status_code} after {took_s:.1f} s"
    try:
        answer: Any = json.loads(response.content)
    except ValueError:
        return f"{response.status_code} {response.text[:200]!r} is no JSON"
    if response.status_code >= 400 and "error" not in answer.get("status", {}):
        return f"{response.status_code} without the envelope: {response.text[:200]}"
    return None


def schemathesis(command: str, server: VdbProcess, seed: int, examples: int, seconds: float) -> int:
    """Its exit code; it prints what it finds."""
    arguments = [
        "run",
        f"{server.url}/openapi.json",
        "--seed",
        str(seed),
        "--max-examples",
        str(examples),
        "--phases",
        "fuzzing",
    ]
    checks = [
        "--checks",
        "not_a_server_error,response_schema_conformance",
        "--suppress-health-check",
        "all",
        "--max-time",
        str(max(1, round(seconds))),
    ]
    return subprocess.run([command, *arguments, *checks], check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--answer-max", type=float, default=5.0)
    parser.add_argument("--schemathesis", metavar="COMMAND", help="its command, where it is to run as well")
    parser.add_argument("--examples", type=int, default=50, help="requests that schemathesis makes of each operation")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vdb-fuzz-") as scratch:
        environment = {**os.environ, "VDB__STORAGE__SNAPSHOTS_PATH": str(Path(scratch) / "snapshots")}
        with serving(Path(scratch) / "storage", environment) as server:
            failed = bool(fuzz(server, arguments.seconds, arguments.seed, arguments.answer_max))
            if arguments.schemathesis is not None:
                prepared = httpx.Client(base_url=server.url)
                prepare(prepared)
                prepared.close()
                failed |= (
                    schemathesis(arguments.schemathesis, server, arguments.seed, arguments.examples, arguments.seconds)
                    != 0
                )
            if server.process.poll() is not None:
                print(f"the server ended:\n{server.log_text()[-5_000:]}", file=sys.stderr)
                failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
