"""Runs every query of `jackdaw generate dashboards` on a Prometheus server, and looks at how it takes the alert rules.

generated.py PORT FOLDER SECONDS: exits with 1 and names the queries that return nothing within that time."""

import json
import re
import sys
import time
import urllib.parse
import urllib.request

port, folder, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])

# There is no listener with TLS here, and the first pass of the scrub takes days.
WITHOUT_DATA = {"JackdawCertificateExpires", "JackdawScrubLate"}


def ask(path, **fields):
    url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(fields)}"
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)["data"]


def has_data(expression):
    return bool(ask("query", query=expression)["result"])


def panels():
    with open(f"{folder}/jackdaw-dashboard.json") as file:
        dashboard = json.load(file)
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$instance", ".*").replace("$job", ".*")
            yield f"{panel['title']} {target['refId']}", expression.replace("$__rate_interval", "1m")


def alerts():
    rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
    for rule in rules:
        value = re.sub(r" (==|<|>) [\d.* ]+$", "", rule["query"])
        assert value != rule["query"], rule
        if rule["name"] not in WITHOUT_DATA:
            yield rule["name"], value


def is_evaluated():
    rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
    assert not any(rule.get("lastError") for rule in rules), rules
    return bool(rules) and all(rule["health"] == "ok" for rule in rules)


give_up = time.monotonic() + limit
while not is_evaluated():
    assert time.monotonic() < give_up, "the rules were not evaluated"
    time.sleep(1)
queries = [*panels(), *alerts()]
assert len(queries) > 40, queries
while empty := [query for query in queries if not has_data(query[1])]:
    if time.monotonic() > give_up:
        for name, expression in empty:
            print(f"no data: {name}: {expression}", file=sys.stderr)
        sys.exit(1)
    time.sleep(1)
firing = [alert["labels"]["alertname"] for alert in ask("alerts")["alerts"] if alert["state"] == "firing"]
assert firing == [], firing
