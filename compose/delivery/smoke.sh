# Asks an installation like a stranger would: whether the door is there, is closed where it should be, and the database answers.
#
#   sh smoke.sh https://monitoring.example.org [--insecure]
set -u
url=${1%/}
insecure=${2:-}
tries=${SMOKE_TRIES:-30}
wrong=0

ask() { curl --silent --max-time 10 ${insecure:+--insecure} "$@"; }
code() { ask --output /dev/null --write-out '%{http_code}' "$@"; }
check() {
  if [ "$2" = "$3" ]; then
    echo "good: $1"
  else
    echo "WRONG: $1: $2 instead of $3"
    wrong=1
  fi
}

# What was just started may take a while.
until [ "$(code "$url/api/health")" = 200 ] || [ "$tries" -le 0 ]; do
  tries=$((tries - 1))
  sleep 2
done
check "it answers, and so does its database" "$(code "$url/api/health")" 200
check "the page for signing in opens" "$(code "$url/login")" 200
check "a stranger is not let in" "$(code "$url/api/org")" 401
check "metrics are not shown to strangers" "$(ask "$url/metrics" | grep -c '^# HELP')" 0
check "browsers are told to come by https alone" \
  "$(ask --head "$url/login" | tr 'A-Z' 'a-z' | grep -c '^strict-transport-security: max-age=')" 1
check "TLS 1.2 is refused" "$(code --tls-max 1.2 "$url/login")" 000
exit $wrong
