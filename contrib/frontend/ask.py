#!/usr/bin/env python3
"""A front end for netjail: shows each question on this terminal, takes an answer in words.

What is said on the socket is described by `go doc ./daemon/api`. While this runs, programs
that have neither a desktop nor a terminal are asked about here, too."""
import json, os, socket, sys

base = os.environ.get("XDG_RUNTIME_DIR")
daemon = socket.socket(socket.AF_UNIX)
daemon.connect(f"{base}/netjail/daemon.sock" if base else f"/tmp/netjail-{os.getuid()}/daemon.sock")
lines, seen = daemon.makefile("rw"), set()

def request(op, **data):
    print(json.dumps({"v": 1, "id": 1, "op": op, "data": data}), file=lines, flush=True)

request("question.watch", asks=True)
print("netjail: waiting for questions" if "error" not in json.loads(next(lines)) else "netjail: refused", flush=True)
for line in lines:
    message = json.loads(line)
    if message.get("error"):  # answered elsewhere meanwhile
        print("netjail:", message["error"]["text"])
    change = message.get("data")
    if message.get("event") != "question.change" or "closed" in change or change["question"]["id"] in seen:
        continue
    q = change["question"]
    seen.add(q["id"])
    if not q.get("items"):  # a summary's questions come by themselves, too
        print(f"{q['app']!a} wants to {q['op']}: {q['dest']!a}, allow or deny? ", end="", flush=True)
        verdict = "allow" if sys.stdin.readline().strip() == "allow" else "deny"
        request("question.answer", id=q["id"], verdict=verdict, scope="host", lifetime="once")
