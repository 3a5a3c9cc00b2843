"""Changes a pool at random through the control socket of tercetd, which somebody kills meanwhile, and says whether the pool is then
what was answered.

churn.py change SOCKET FOLDER NQN STATE SEED: makes changes until the daemon is gone.
churn.py judge SOCKET FOLDER NQN STATE: compares what is there with what was answered; the change that had no answer may have been
made or not. Nothing but the namespaces' files, the record and its reserve may be in the folder.
"""

import json
import os
import random
import socket
import sys
import uuid

verb, path, folder, nqn, state = sys.argv[1:6]


class Daemon:
    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(path)
        self.lines = self.socket.makefile()

    def call(self, method, parameters):
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        self.socket.sendall((json.dumps(request) + "\n").encode())
        line = self.lines.readline()
        if not line.endswith("\n"):
            raise ConnectionError("no answer")
        answer = json.loads(line)
        if "error" in answer:
            raise SystemExit(f"{method} {parameters}: {answer['error']}")
        return answer["result"]

    def namespaces(self):
        subsystems = self.call("state.get", {})["subsystems"]
        pool = next(s["pool"] for s in subsystems if s["nqn"] == nqn)
        return {n["uuid"]: [n["nsid"], n["isAttached"]] for n in pool["namespaces"]}


def read():
    if not os.path.exists(state):
        return {"known": {}, "pending": None, "answers": 0}
    with open(state) as file:
        return json.load(file)


def write(model):
    with open(state + ".new", "w") as file:
        json.dump(model, file)
    os.replace(state + ".new", state)


def change():
    chance = random.Random(int(sys.argv[6]))
    model = read()
    known = model["known"]
    try:
        daemon = Daemon()
        while True:
            kinds = ["create"] * (len(known) < 6) + ["attach", "detach", "delete"] * bool(known)
            kind = chance.choice(kinds)
            parameters = {"subsystem": nqn}
            if kind == "create":
                name = str(uuid.UUID(int=chance.getrandbits(128), version=4))
                parameters |= {"size": 1 << 20, "uuid": name}
            else:
                wanted = [n for n, v in known.items() if kind == "delete" or v[1] == (kind == "detach")]
                if not wanted:
                    continue
                name = chance.choice(sorted(wanted))
                parameters["nsid"] = known[name][0]
            model["pending"] = [kind, name]
            write(model)
            result = daemon.call("pool." + kind, parameters)
            if kind == "create":
                known[name] = [result["nsid"], False]
            elif kind == "delete":
                del known[name]
            else:
                known[name][1] = kind == "attach"
            model["pending"] = None
            model["answers"] += 1
            write(model)
            print("answered", flush=True)
    except (ConnectionError, FileNotFoundError, TimeoutError):
        pass


def judge():
    model, there = read(), Daemon().namespaces()
    known, pending = model["known"], model["pending"]
    for name in sorted(set(known) | set(there)):
        allowed = [known.get(name)]
        if pending and pending[1] == name:
            kind, former = pending[0], known.get(name)
            if kind == "create":
                allowed.append([there[name][0], False] if name in there else None)
            elif kind == "delete":
                allowed.append(None)
            else:
                allowed.append([former[0], kind == "attach"])
        if there.get(name) not in allowed:
            raise SystemExit(f"namespace {name} is {there.get(name)}; answered: {known.get(name)}, pending: {pending}")
    files, wanted = set(os.listdir(folder)), {name + ".namespace" for name in there} | {"pool.json", "pool.reserve"}
    if files != wanted:
        raise SystemExit(f"left over: {files - wanted}; missing: {wanted - files}")
    print(f"{len(there)} namespaces, {model['answers']} answers, pending: {pending}")
    write({"known": there, "pending": None, "answers": model["answers"]})


change() if verb == "change" else judge()
