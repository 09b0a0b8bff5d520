# SPDX-License-Identifier: Apache-2.0
"""Everything at once: clients of every face, while processes are killed and frozen, connections cut and PostgreSQL restarted. Nothing accepted is lost,
billed twice or left behind, and no limit is passed. MILLRACE_SOAK_SEED repeats a run, MILLRACE_SOAK_SECONDS makes it longer."""

import os
import random

from soak import ANSWERS, CONFIG, ROUTES, TARGETS, Chaos, Traffic, check


def test_whatever_dies_nothing_is_lost_doubled_or_left(make_pg, make_stack):
    seed = os.environ.get("MILLRACE_SOAK_SEED") or str(random.randrange(1 << 31))
    print(f"MILLRACE_SOAK_SEED={seed}")
    cluster = make_pg()
    keys = cluster.make_template()
    stack = make_stack(apis=2, workers=3, db=cluster.new_database(), keys=keys, config=CONFIG, start=False)
    plain = {"provider": "openai", "base_url": stack.simulator.base_url, "api_key": "k", "price": {"input": "1", "cached_input": "0.5", "output": "2"}}
    for process in stack.apis + stack.workers:
        process.config["targets"] = {name: {**plain, "model": name, **members} for name, members in TARGETS.items()}
        process.config["routes"] = ROUTES
    stack.start()
    assert stack.simulator.http().post("/_control", {"models": ANSWERS}).status == 200
    with Traffic(stack, seed) as traffic:
        chaos = Chaos(stack, cluster, seed)
        chaos.run(float(os.environ.get("MILLRACE_SOAK_SECONDS") or 8))
    print(dict(traffic.done), dict(chaos.happened))
    traffic.settle()
    check(stack, traffic)
