#!/usr/bin/env bash
# The dashboards and alert rules ask for what the daemons tell: Prometheus scrapes both, and answers each expression of them.
. "$(dirname "$0")/volume.sh"
. "$(dirname "$0")/volumed.sh"

for number in 1 2; do start_member "$number"; done
start_tercetd --reactors 1 --listen "$address:$port" --export "$nqn.0=$tap_folder/disk0,buffered" \
  --metrics "127.0.0.1:$((port + 10))"
require "three targets, one of which tells metrics" wait_until 30 "$tercet" discover -a "$address" -s "$port"
require "a volume" volume create
require "it is served" start_volumed --nbd "$nbd_socket" --metrics "127.0.0.1:$((port + 11))" --volume "db=$(volume_members)"

cat >"$tap_folder/prometheus.yml" <<YAML
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [ "$project/Deploy/tercet-alerts.yml" ]
scrape_configs:
  - { job_name: tercetd, static_configs: [ { targets: [ "127.0.0.1:$((port + 10))" ] } ] }
  - { job_name: tercet-volumed, static_configs: [ { targets: [ "127.0.0.1:$((port + 11))" ] } ] }
YAML
prometheus --config.file="$tap_folder/prometheus.yml" --storage.tsdb.path="$tap_folder/tsdb" \
  --web.listen-address="127.0.0.1:$((port + 12))" >"$tap_folder/prometheus.log" 2>&1 </dev/null &
prometheus_pid=$!
at_exit "kill $prometheus_pid"
tap_logs+=("$tap_folder/prometheus.log")
# ask PROMQL: the number of series in the answer.
ask() {
  curl --silent --fail-with-body --max-time 10 --data-urlencode "query=$1" "http://127.0.0.1:$((port + 12))/api/v1/query" |
    python3 -c 'import json, sys; print(len(json.load(sys.stdin)["data"]["result"]))'
}
head -c 4M /dev/urandom >"$tap_folder/data"
work() { nbdcopy --flush "$tap_folder/data" "$(uri db)" && nbdcopy "$(uri db)" null:; }
check "there is load" work
scraped() { [ "$(ask 'count_over_time(tercet_target_reactors[1m]) > 3')" = 1 ] && [ "$(ask 'count_over_time(tercet_volume_phase[1m]) > 3')" = 1 ]; }
require "Prometheus scrapes both" wait_until 30 scraped
check "there is more" work
after() { [ "$(ask 'sum(rate(tercet_target_commands_total{operation="write"}[1m])) > 0')" = 1 ]; }
require "... and sees it" wait_until 30 after

# expressions FILE...: the expressions of dashboards, one a line, with what Grafana puts in.
expressions() {
  python3 - "$@" <<'PYTHON'
import json, sys
for name in sys.argv[1:]:
    board = json.load(open(name))
    for panel in board["panels"]:
        for target in panel["targets"]:
            text = target["expr"].replace("$__rate_interval", "1m")
            for variable in board["templating"]["list"]:
                text = text.replace("$" + variable["name"], ".*")
            print(text)
PYTHON
}
expressions "$project"/Deploy/*dashboard.json >"$tap_folder/expressions"
check "the dashboards have expressions" test "$(wc -l <"$tap_folder/expressions")" -gt 25
unanswered=()
while read -r expression; do
  [ "$(ask "$expression")" -gt 0 ] 2>/dev/null || unanswered+=("$expression")
done <"$tap_folder/expressions"
expect_equal "each of them has an answer" "" "$(printf '%s\n' "${unanswered[@]}")"

# Alerts have no answer while all is well: what they name has to be there.
names=$(grep -ohE 'tercet_[a-z_]+' "$project/Deploy/tercet-alerts.yml" "$project"/Deploy/*dashboard.json | sort -u)
missing=()
for name in $names; do [ "$(ask "$name")" -gt 0 ] 2>/dev/null || missing+=("$name"); done
expect_equal "each metric that is named is told" "" "${missing[*]}"
check "no alert fires while all is well" test "$(ask 'ALERTS{alertstate="firing"}')" = 0
told=$(curl --silent "http://127.0.0.1:$((port + 10))/metrics" "http://127.0.0.1:$((port + 11))/metrics" | sed -n 's/^# TYPE \([^ ]*\) .*/\1/p' | sort -u)
unseen=()
for name in $told; do grep -q "$name" "$project"/Deploy/*dashboard.json || unseen+=("$name"); done
expect_equal "the dashboards show each metric that there is" "" "${unseen[*]}"

kill_member 1
check "the alert of a volume without a member waits" \
  wait_until 20 sh -c "[ \"\$(curl --silent --data-urlencode 'query=ALERTS{alertname=\"TercetVolumeDegraded\"}' \
    http://127.0.0.1:$((port + 12))/api/v1/query | grep -c pending)\" = 1 ]"
check "the daemon ends" stop_volumed
done_testing
