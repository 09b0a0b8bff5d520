# SPDX-License-Identifier: Apache-2.0
"""What a job cost is all that was spent on it, over retries, restarts and new series."""

from stack import wait_until


def spent(stack, job_id):
    rows = stack.sql("select input_tokens, output_tokens, cost_nanousd from attempt where job_id = %s::uuid order by token, number", job_id[4:])
    return [sum(r[i] for r in rows) for i in range(3)], len(rows)


def usd(nano):
    return f"{nano // 10**9}.{nano % 10**9:09d}".rstrip("0")


def test_a_jobs_cost_is_the_sum_of_its_attempts_over_all_its_leases(make_stack):
    # Nothing is waited out in place, so that each retry is a lease of its own; a cut call is billed at its estimate.
    stack = make_stack(config={"retry": {"in_place": "0s", "base": "20ms", "max": "40ms"}})
    stack.simulator.http().post("/_control", {"models": {"sim-extract": {"answer": "a few words", "fail_first": 2, "cut_after_bytes": 400}}})
    job = stack.wait_for(stack.submit("hello")["id"])
    (inputs, outputs, cost), calls = spent(stack, job["id"])
    assert calls == 3 and cost > 0
    assert (job["usage"]["input_tokens"], job["usage"]["output_tokens"]) == (inputs, outputs)
    assert float(job["cost"]["usd"]) == float(usd(cost)), (job["cost"], cost)


def test_a_job_that_was_canceled_before_it_ran_cost_nothing(stack):
    ended = stack.http().post(f"/v1/jobs/{make_scheduled(stack)['id']}/cancel").json
    assert ended["status"] == "canceled"
    assert wait_until(lambda: stack.sql("select cost_nanousd from outcome where status = 5"), 5, "the outcome") == [(0,)]


def make_scheduled(stack):
    tomorrow = stack.sql("select to_char(now() at time zone 'UTC' + interval '1 day', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")[0][0]
    return stack.submit("later", run_at=tomorrow)
