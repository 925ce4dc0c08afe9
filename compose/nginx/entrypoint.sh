#!/bin/sh
# Runs nginx and lets it read its configuration and certificates again when they change, or when a Grafana has another
# address. entrypoint.sh NGINX.CONF; $NGINX_PROGRAM names the program, $POLL the seconds between two looks.
set -eu
umask 077
conf=$1
program=${NGINX_PROGRAM:-nginx}
poll=${POLL:-10}
folder=$(dirname "$conf")
limit=$((50 * 1024 * 1024)) # bytes of a log; then a new file is begun
deed_files=20
attempt_files=5

say() { printf 'door: %s\n' "$*" >&2; }

# The value of a directive, without its quotes.
setting() { sed -n "s/^ *$1 \"\{0,1\}\([^\";]*\)\"\{0,1\};.*/\1/p" "$folder"/*.conf; }

# Where NAME:PORT is now; nothing for a name without an address.
address() { getent ahostsv4 "${1%:*}" | sed -n "1s/ .*/:${1##*:}/p"; }

# nginx would not start because of one name without an address, such as that of a container that is being replaced, and
# would ask for another's only once.
write_upstreams() {
    for file in "$folder"/upstream-*.conf; do
        while read -r word server rest; do
            [ "$word" = server ] || continue
            found=$(address "$server")
            [ -z "$found" ] || printf 'server %s %s\n' "$found" "$rest"
        done <"$file" >"$run/${file##*/}.new"
        [ -s "$run/${file##*/}.new" ] || printf 'server 127.0.0.1:9; # none of them is there\n' >"$run/${file##*/}.new"
        mv "$run/${file##*/}.new" "$run/${file##*/}"
    done
}

certificate() { setting ssl_certificate | head -n 1; }

# Everything that nginx reads once, in words that differ when it differs.
seen() {
    stat -Lc '%n %i %s %y' "$folder"/*.conf "$(certificate)" "$(setting ssl_certificate_key | head -n 1)" 2>&1 || :
    for server in $(sed -n 's/^server \([^ ]*\) .*/\1/p' "$folder"/upstream-*.conf); do
        printf '%s: %s\n' "$server" "$(address "$server")"
    done
}

good() { write_upstreams && "$program" -t -q -c "$conf" -e stderr; }

tell_expiry() {
    command -v openssl >/dev/null || return 0
    if ! openssl x509 -checkend 0 -noout -in "$(certificate)" >/dev/null 2>&1; then
        say "THE CERTIFICATE HAS EXPIRED: browsers refuse it"
    elif ! openssl x509 -checkend 604800 -noout -in "$(certificate)" >/dev/null 2>&1; then
        say "the certificate expires within a week"
    fi
}

too_long() { [ "$(stat -c %s "$1" 2>/dev/null || echo 0)" -gt "$limit" ]; }

# A log that is too long is put aside under the present time; of those the newest are kept. turn_over LOG FILES
turn_over() {
    too_long "$1" || return 0
    aside="${1%.json}-$(date -u +%Y%m%dT%H%M%SZ).json"
    [ ! -e "$aside" ] || return 0 # the next look is another second
    mv "$1" "$aside"
    kill -USR1 "$nginx"
    ls -1 "${1%.json}"-*.json | sort -r | tail -n "+$2" | while read -r old; do rm -f "$old"; done
}

# Of who did what many files are kept, of what strangers tried few, of mere numbers the last.
turn_logs_over() {
    logs=$(sed -n 's/^access_log "\(.*\)\/audit\.json".*/\1/p' "$folder/log.conf")
    turn_over "$logs/audit.json" "$deed_files"
    turn_over "$logs/attempts.json" "$attempt_files"
    if too_long "$logs/responses.json"; then
        mv "$logs/responses.json" "$logs/responses.json.old"
        kill -USR1 "$nginx"
    fi
}

watch() {
    known=$1
    told=
    while sleep "$poll"; do
        turn_logs_over
        now=$(seen)
        if [ "$now" != "$known" ]; then
            known=$now
            told=
            if good; then
                say "something changed: nginx reads it anew"
                kill -HUP "$nginx"
            else
                say "what changed is not good: nginx goes on with what it has"
            fi
        fi
        today=$(date +%F)
        if [ "$today" != "$told" ]; then
            told=$today
            tell_expiry
        fi
    done
}

stop() {
    trap '' TERM INT
    kill "$watcher" 2>/dev/null || :
    kill -QUIT "$nginx" 2>/dev/null || exit 0 # what is under way may end
    for _ in 1 2 3 4 5 6 7 8; do
        kill -0 "$nginx" 2>/dev/null || exit 0
        sleep 1
    done
    kill -TERM "$nginx"
    wait "$nginx" || :
    exit 0
}

if [ "$(id -u)" = 0 ]; then
    say "nothing here needs root: start it as the owner of the installation"
    exit 1
fi
run=$(dirname "$(setting pid)")
mkdir -p "$run"
chmod 700 "$run"
rm -f "$run/static.sock" # nginx that was killed leaves it, and could not listen there again
trap 'exit 0' TERM INT
known=$(seen)
until good; do
    say "nginx cannot start like this; the next try is in $poll s"
    sleep "$poll" &
    wait $! || :
    known=$(seen)
done
setsid "$program" -c "$conf" -e stderr & # a group of its own, so that none of it is left
nginx=$!
watch "$known" &
watcher=$!
trap stop TERM INT
status=0
wait "$nginx" || status=$?
kill "$watcher" 2>/dev/null || :
kill -s KILL -- "-$nginx" 2>/dev/null || :
say "nginx has ended ($status)"
exit "$status"
