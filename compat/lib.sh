# The functions that the checks of all clients share; compat/run sources it and then the client's `checks`.
#
# It sets BOOTSTRAP (host:port of the broker), DATA_DIR (the directory of its files, or empty), WORK (a folder for
# these checks) and PREFIX (of every topic and group name).
set -uo pipefail

PREFIX=${CLIENT//\//-}-$$-
LIMIT=90 # seconds for one command of a client; generous, for busy machines

# --- results -----------------------------------------------------------------------------------------

# check FACT FUNCTION: runs the function in a shell that stops at the first error.
check() {
  local fact=$1 status
  (
    set -euo pipefail
    "$2"
  ) >"$WORK/output" 2>&1 </dev/null
  status=$?
  if [ $status = 0 ]; then
    echo "ok $CLIENT: $fact"
  else
    echo "FAIL $CLIENT: $fact"
    tail -n 25 "$WORK/output" | cut -c1-400 | sed 's/^/     | /'
  fi
}

# skip FACT REASON
skip() { echo "skip $CLIENT: $1 ($2)"; }

# --- the matrix: a column for each client and version, a row for each line of rows.tsv ---------------------

COLUMN=$CLIENT # the name of the client in the table, with its version if the folder has several
LACKS=         # rows that the client cannot play, whether the broker serves their APIs or not

# verdict ok|FAIL|skip|none ROW [REASON]: sets one cell.
verdict() {
  [ "$1" = none ] || echo "$1 $COLUMN: $2${3:+ ($3)}"
  printf '%s\t%s\t%s\t%s\n' "$1" "$COLUMN" "$2" "${3:-}" >>"$WORK/cells"
}

# none ROW…: rows that this client cannot play.
none() { for row in "$@"; do verdict none "$row" 'not in this client'; done; }

# not_offered ROW: prints the first key that the row needs and the broker does not advertise; fails if there is none.
not_offered() {
  local key
  for key in $(awk -F'\t' -v row="$1" '$1 == row { gsub(",", " ", $2); print $2 }' "$COMPAT/rows.tsv"); do
    offers "$key" || { echo "not offered yet: key $key"; return; }
  done
  return 1
}

# cell ROW FUNCTION: the function plays the row, in a shell that stops at the first error.
cell() {
  local reason said
  if reason=$(not_offered "$1"); then verdict skip "$1" "$reason"; return; fi
  said=$(check "$1" "$2")
  verdict "${said%% *}" "$1"
  tail -n +2 <<<"$said"
}

# cells COMMAND…: runs a program that plays the rows in its arguments, with BOOTSTRAP, PREFIX and WORK in its
# environment. It prints a line for each: "ok ROW", "FAIL ROW what happened" or "none ROW why". Two more calls play the
# row `restart`: `restart-before`, then the broker is killed and started again, then `restart-after`.
cells() {
  local row reason rows=()
  export BOOTSTRAP WORK PREFIX=${COLUMN//[^a-zA-Z0-9.-]/-}-$$-
  : >"$WORK/said"
  for row in $(cut -f1 "$COMPAT/rows.tsv"); do
    if [[ " $LACKS " == *" $row "* ]]; then
      none "$row"
    elif reason=$(not_offered "$row"); then
      verdict skip "$row" "$reason"
    else
      rows+=("$row")
    fi
  done
  local COMMAND=("$@")
  local restarts=
  [ -z "$BROKER_PID" ] || [[ " ${rows[*]} " != *" restart "* ]] || restarts=yes
  play_rows "${rows[@]/restart}"
  if [ -n "$restarts" ]; then
    play_rows restart-before
    kill_broker_and_restart
    play_rows restart-after
  fi
  if [[ " $LACKS " != *" transactions "* ]] && not_offered transactions >"$WORK/reason"; then
    check "$COLUMN: without transactions a transactional producer ends with the broker's error, and soon" refused_soon
  fi
  for row in "${rows[@]/restart}"; do [ -z "$row" ] || cell_of "$row" "$row"; done
  [ -z "$restarts" ] || cell_of restart restart-before restart-after
}

# play_rows ROW…: one call of the program of `cells`; its lines are appended to $WORK/said.
play_rows() {
  timeout "$CELLS_LIMIT" "${COMMAND[@]}" $* >"$WORK/output" 2>"$WORK/errors" </dev/null
  local status=$?
  cat "$WORK/output" >>"$WORK/said"
  [ $status = 0 ] || { echo "$COLUMN ended with status $status:"; tail -n 12 "$WORK/errors"; } | cut -c1-400 | sed 's/^/     | /'
}
CELLS_LIMIT=300 # seconds for all rows of one client

# The row of transactions fails with the broker's refusal (kafkajs does not name it). A client that retries the look-up
# for ever would end later, or with another error.
refused_soon() {
  local status=0
  timeout 45 "${COMMAND[@]}" transactions >"$WORK/transactions" || status=$?
  cat "$WORK/transactions"
  [ $status != 124 ] || { echo 'it did not end'; return 1; }
  grep -qiE '^FAIL transactions .*(authoriz|no transactions yet|group coordinator)' "$WORK/transactions"
}

# cell_of ROW PART…: the verdict of a row from the verdicts of its parts: the first that is not "ok", else "ok".
cell_of() {
  local row=$1 part line word reason
  shift
  for part in "$@"; do
    line=$(grep -E "^(ok|FAIL|none) $part( |\$)" "$WORK/said" | tail -n 1)
    [ -n "$line" ] || line="FAIL $part the program said nothing of it"
    word=${line%% *} reason=${line#"$word $part"}
    [ "$word" = ok ] || break
  done
  verdict "$word" "$row" "${reason# }"
}

# same EXPECTED ACTUAL [WHAT]
same() {
  [ "$1" = "$2" ] && return
  echo "${3:-it} is not what was expected"
  diff <(printf '%s\n' "$1") <(printf '%s\n' "$2") | head -n 20
  return 1
}

# contains TEXT PIECE…: every piece must be in the text.
contains() {
  local text=$1 piece
  shift
  for piece in "$@"; do
    grep -qF -e "$piece" <<<"$text" || { printf 'no "%s" in:\n%s\n' "$piece" "$(head -n 20 <<<"$text")"; return 1; }
  done
}

# lacks TEXT PIECE
lacks() { ! grep -qF -e "$2" <<<"$1" || { printf '"%s" stands in:\n%s\n' "$2" "$1"; return 1; }; }

# refused COMMAND…: the command must fail; its output is printed.
refused() {
  if "$@"; then echo "this succeeded: $*"; return 1; fi 2>&1
}

# --- the broker --------------------------------------------------------------------------------------

# Starts the broker of this client, or uses the one in BOOTSTRAP.
start_broker() {
  BROKER_PID=
  if [ -z "$BOOTSTRAP" ]; then
    DATA_DIR=$WORK/data
    launch localhost:0 || exit 1
    trap stop_broker EXIT
  fi
  apis >"$WORK/apis" || { echo "no ApiVersions answer from $BOOTSTRAP"; exit 1; }
}

BROKER_FLAGS=() # flags for the next launch

# launch HOST:PORT: starts the binary, with the client's server.properties if there is one, and waits for its readiness
# line, which has the address.
launch() {
  local line
  local settings=()
  [ ! -f "$COMPAT/$CLIENT/server.properties" ] || settings=(--config "$COMPAT/$CLIENT/server.properties")
  rm -f "$WORK/stdout"
  mkfifo "$WORK/stdout"
  "$JACKDAW" "${settings[@]}" --listen "$1" --data-dir "$DATA_DIR" "${BROKER_FLAGS[@]}" >"$WORK/stdout" 2>>"$WORK/broker.log" </dev/null &
  BROKER_PID=$!
  # The broker keeps its standard output open; the lines after the readiness line are appended to the log.
  exec 8<"$WORK/stdout"
  while IFS= read -r -t 60 -u 8 line; do
    echo "$line" >>"$WORK/broker.log"
    BOOTSTRAP=$(grep -oE '(127\.0\.0\.1|localhost|\[::1\]):[0-9]+' <<<"$line" | head -n 1)
    [ -z "$BOOTSTRAP" ] || { cat <&8 >>"$WORK/broker.log" & exec 8<&-; return; }
  done
  echo "the broker did not become ready:"
  tail -n 20 "$WORK/broker.log"
  return 1
}

# fresh_broker [FLAG…]: starts another, empty broker, for the next version of a client or with other flags.
fresh_broker() {
  [ -n "$BROKER_PID" ] || return 0
  stop_broker
  rm -rf "$DATA_DIR"
  BROKER_FLAGS=("$@")
  launch localhost:0
}

# Kills the broker with kill -9 and starts it again with the same port and data.
kill_broker_and_restart() {
  kill -9 "$BROKER_PID"
  wait "$BROKER_PID" 2>/dev/null || true
  launch "$BOOTSTRAP"
}

stop_broker() {
  [ -n "$BROKER_PID" ] || return 0
  kill "$BROKER_PID" 2>/dev/null
  wait "$BROKER_PID" 2>/dev/null
  BROKER_PID=
}

# The APIs that the broker advertises, "key min max" in each line, from an ApiVersions request of version 0.
apis() {
  local size
  exec 9<>"/dev/tcp/${BOOTSTRAP%:*}/${BOOTSTRAP##*:}" || return
  printf '\0\0\0\x0a\0\x12\0\0\0\0\0\1\xff\xff' >&9
  size=$(head -c 4 <&9 | od -An -tu4 --endian=big)
  head -c "$size" <&9 | tail -c +11 | od -An -v -w6 -tu2 --endian=big
  exec 9>&-
}

# offers KEY
offers() { awk -v key="$1" '$1 == key { found = 1 } END { exit !found }' "$WORK/apis"; }
