# The functions that the checks of all clients share; compat/run sources it and then the client's `checks`.
#
# It sets BOOTSTRAP (host:port of the broker), DATA_DIR (the directory of its files, or empty), WORK (a folder for
# these checks) and PREFIX (of every topic and group name). At SASL_BOOTSTRAP (host:port, or empty) the same broker asks
# for a login: SASL_USER with SASL_PASSWORD may log in there with PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512.
#
# `secured` plays checks with another broker, which has TLS and an authorizer.
set -uo pipefail
export SASL_BOOTSTRAP SASL_USER=alice SASL_PASSWORD=alice-secret
export ACL_USER=bob ACL_PASSWORD=bob-secret

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

# not_offered ROW: prints what the row needs and the broker does not have, such as the first key that it does not
# advertise; fails if there is nothing.
not_offered() {
  local key
  for key in $(awk -F'\t' -v row="$1" '$1 == row { gsub(",", " ", $2); print $2 }' "$COMPAT/rows.tsv"); do
    offers "$key" || { echo "not offered yet: key $key"; return; }
  done
  [ "$1" = sasl ] && [ -z "$SASL_BOOTSTRAP" ] && echo 'only with SASL_BOOTSTRAP' && return
  [[ $1 =~ ^(tls|acls|oauth)$ ]] && [ -z "$BROKER_PID$SECURED" ] && echo 'only with SECURED'
}

# cell ROW FUNCTION: the function plays the row, in a shell that stops at the first error.
cell() {
  local reason said
  if reason=$(not_offered "$1"); then verdict skip "$1" "$reason"; return; fi
  said=$(check "$1" "$2")
  verdict "${said%% *}" "$1"
  tail -n +2 <<<"$said"
}

# secured_cell ROW FUNCTION: the same against the secured broker.
secured_cell() {
  secured true # a broker that is started within a check would outlive it
  secured cell "$@"
}

# cells COMMAND…: runs a program that plays the rows in its arguments, with BOOTSTRAP, PREFIX, WORK and the three names of
# SASL in its environment. It prints a line for each: "ok ROW", "FAIL ROW what happened" or "none ROW why". Another call
# plays with the secured broker: the rows `tls` and `oauth`, and `acls-enforced`, the second part of the row `acls`. Two more
# calls play the row `restart`: `restart-before`, then the broker is killed and started again, then `restart-after`.
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
  local of_secured=() others=()
  for row in "${rows[@]}"; do
    case $row in
      restart) ;;
      tls | oauth) of_secured+=("$row") ;;
      acls) of_secured+=(acls-enforced) others+=(acls) ;;
      *) others+=("$row") ;;
    esac
  done
  local securely=
  if [ ${#of_secured[@]} -gt 0 ] && secured true; then
    secured play_rows "${of_secured[@]}" & # at the same time, because each mostly waits
    securely=$!
  fi
  [ ${#others[@]} = 0 ] || play_rows "${others[@]}"
  [ -z "$securely" ] || wait "$securely"
  if [ -n "$restarts" ]; then
    play_rows restart-before
    kill_broker_and_restart
    play_rows restart-after
  fi
  for row in "${rows[@]}"; do
    case $row in
      restart) [ -z "$restarts" ] || cell_of restart restart-before restart-after ;;
      acls) cell_of acls acls acls-enforced ;;
      *) cell_of "$row" "$row" ;;
    esac
  done
}

# play_rows ROW…: one call of the program of `cells`; its lines are appended to $WORK/said.
play_rows() {
  local output=$WORK/output-$1 errors=$WORK/errors-$1
  timeout "$CELLS_LIMIT" "${COMMAND[@]}" "$@" >"$output" 2>"$errors" </dev/null
  local status=$?
  cat "$output" >>"$WORK/said"
  [ $status = 0 ] || { echo "$COLUMN ended with status $status:"; tail -n 12 "$errors"; } | cut -c1-400 | sed 's/^/     | /'
}
CELLS_LIMIT=300 # seconds for all rows of one client

# cell_of ROW PART…: the verdict of a row from the verdicts of its parts: the first that fails, else "ok" if there is one.
cell_of() {
  local row=$1 part line word reason
  local verdict=none why=
  shift
  for part in "$@"; do
    line=$(grep -E "^(ok|FAIL|none) $part( |\$)" "$WORK/said" | tail -n 1)
    [ -n "$line" ] || line="FAIL $part the program said nothing of it"
    word=${line%% *} reason=${line#"$word $part"}
    [ "$word" = none ] && [ "$verdict" = ok ] || verdict=$word why=${reason# }
    [ "$word" != FAIL ] || break
  done
  verdict "$verdict" "$row" "$why"
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
  BROKER_PID= SECURED_PID=
  if [ -z "$BOOTSTRAP" ]; then
    DATA_DIR=$WORK/data
    launch localhost:0 || exit 1
    trap 'stop_broker; stop_secured' EXIT
  fi
  apis >"$WORK/apis" || { echo "no ApiVersions answer from $BOOTSTRAP"; exit 1; }
}

BROKER_FLAGS=() # flags for the next launch

# launch LOCALHOST:PORT [127.0.0.1:PORT]: starts the binary, with the client's server.properties if there is one. The
# second address is the one with a login; by default its port is free.
launch() {
  local settings=() of_sasl=listener.name.sasl_plaintext
  [ ! -f "$COMPAT/$CLIENT/server.properties" ] || settings=(--config "$COMPAT/$CLIENT/server.properties")
  [ -d "$DATA_DIR" ] || add_scram_user "$SASL_USER" "$SASL_PASSWORD" --data-dir "$DATA_DIR" "${settings[@]}" || return
  settings+=(
    --set "listeners=PLAINTEXT://$1,SASL_PLAINTEXT://${2:-127.0.0.1:0}"
    --set "$of_sasl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
    --set "$of_sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_$SASL_USER=\"$SASL_PASSWORD\";"
  )
  started "${settings[@]}" --data-dir "$DATA_DIR" "${BROKER_FLAGS[@]}" || return
  BROKER_PID=$STARTED
  BOOTSTRAP=$(grep -oE 'localhost:[0-9]+' <<<"$READY" | head -n 1)
  SASL_BOOTSTRAP=$(grep -oE '127\.0\.0\.1:[0-9]+' <<<"$READY" | head -n 1)
}

# started FLAG…: starts the binary and waits for its readiness line, which has the addresses. Sets READY to the line and
# STARTED to the process.
started() {
  rm -f "$WORK/stdout"
  mkfifo "$WORK/stdout"
  "$JACKDAW" "$@" >"$WORK/stdout" 2>>"$WORK/broker.log" </dev/null &
  STARTED=$!
  # The broker keeps its standard output open; the lines after the readiness line are appended to the log.
  exec 8<"$WORK/stdout"
  while IFS= read -r -t 60 -u 8 READY; do
    echo "$READY" >>"$WORK/broker.log"
    [[ $READY != *localhost:* ]] || { cat <&8 >>"$WORK/broker.log" & exec 8<&-; return; }
  done
  echo "the broker did not become ready:"
  tail -n 20 "$WORK/broker.log"
  return 1
}

# secured COMMAND…: runs the command against another broker with an authorizer, which is started when it is first needed.
# It has four listeners: at BOOTSTRAP everybody is a super user. TLS_BOOTSTRAP has TLS, and so has CERTIFIED_BOOTSTRAP, which
# wants a certificate of the client, too. SASL_TLS_BOOTSTRAP has TLS, and SASL_USER, a super user, and ACL_USER with
# ACL_PASSWORD log in there with SCRAM-SHA-256, and SASL_USER also with a token. CERTIFICATES is the folder that
# compat/certificates made.
#
# A running server is used if its addresses are in SECURED, in this order and with spaces between them.
secured() {
  [ -n "$SECURED" ] || launch_secured || return
  local addresses=($SECURED)
  BOOTSTRAP=${addresses[0]} TLS_BOOTSTRAP=${addresses[1]} CERTIFIED_BOOTSTRAP=${addresses[2]} \
    SASL_TLS_BOOTSTRAP=${addresses[3]} "$@"
}
export TLS_BOOTSTRAP CERTIFIED_BOOTSTRAP SASL_TLS_BOOTSTRAP

launch_secured() {
  local there=$WORK/secured of_tokens=listener.name.sasl_ssl.oauthbearer.sasl
  add_scram_user "$SASL_USER" "$SASL_PASSWORD" --data-dir "$there" || return
  add_scram_user "$ACL_USER" "$ACL_PASSWORD" --data-dir "$there" || return
  started --data-dir "$there" \
    --set 'listeners=PLAINTEXT://localhost:0,SSL://localhost:0,CERTIFIED://localhost:0,SASL_SSL://localhost:0' \
    --set 'listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,CERTIFIED:SSL,SASL_SSL:SASL_SSL' \
    --set 'ssl.keystore.type=PEM' --set "ssl.keystore.location=$CERTIFICATES/server.pem" \
    --set 'ssl.truststore.type=PEM' --set "ssl.truststore.location=$CERTIFICATES/ca.pem" \
    --set 'listener.name.certified.ssl.client.auth=required' \
    --set 'ssl.principal.mapping.rules=RULE:^CN=([^,]+),.*$/$1/L' \
    --set 'sasl.enabled.mechanisms=SCRAM-SHA-256,OAUTHBEARER' \
    --set "$of_tokens.server.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler" \
    --set "$of_tokens.oauthbearer.jwks.endpoint.url=file://$CERTIFICATES/jwks.json" \
    --set "$of_tokens.oauthbearer.expected.issuer=https://issuer.example" \
    --set "$of_tokens.oauthbearer.expected.audience=compat" \
    --set 'authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer' \
    --set "super.users=User:ANONYMOUS;User:$SASL_USER;User:certified" || return
  SECURED_PID=$STARTED
  SECURED=$(grep -oE 'localhost:[0-9]+' <<<"$READY" | paste -sd' ')
}

stop_secured() {
  [ -n "$SECURED_PID" ] || return 0
  kill "$SECURED_PID" 2>/dev/null
  wait "$SECURED_PID" 2>/dev/null
  SECURED_PID= SECURED=
}

# add_scram_user USER PASSWORD FLAG…: adds the user for both mechanisms of SCRAM, before the first start of a broker.
add_scram_user() {
  local mechanism
  for mechanism in SCRAM-SHA-256 SCRAM-SHA-512; do
    "$JACKDAW" user add "$1" --mechanism "$mechanism" --offline "${@:3}" <<<"$2" || return
  done
}

# fresh_broker [FLAG…]: starts another, empty broker, for the next version of a client or with other flags.
fresh_broker() {
  [ -n "$BROKER_PID" ] || return 0
  stop_broker
  rm -rf "$DATA_DIR"
  BROKER_FLAGS=("$@")
  launch localhost:0
}

# Kills the broker with kill -9 and starts it again with the same ports and data.
kill_broker_and_restart() {
  kill -9 "$BROKER_PID"
  wait "$BROKER_PID" 2>/dev/null || true
  launch "$BOOTSTRAP" "$SASL_BOOTSTRAP"
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
