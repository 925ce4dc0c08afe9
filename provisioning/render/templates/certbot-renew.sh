# Gets the certificate of the door and renews it, for ever; `sh renew.sh once` tries once and says by its exit code.
#
# certbot decides what is due (a third of its life is left, or when the authority asks for it). A failure leaves the
# certificate in use where it is. Whoever reads the copies sees a whole file, old or new, never half of one.
set -u
umask 077

live="$letsencrypt/live/cluster-ai"
told="$textfiles/cluster-ai-certificate.prom"
first=30      # s until the first attempt: nginx is being started, and it must answer the authority
retry=120     # s after a first failure, then twice as long each time: an authority counts failures by the hour
usual=43200   # s between attempts otherwise

say() { printf '%s certificate: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*"; }

# Without any certificate nginx would not start, and so nothing could answer the authority.
make_placeholder() {
  [ -s "$certificates/fullchain.pem" ] && [ -s "$certificates/privkey.pem" ] && return
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$domain" \
    -addext "subjectAltName=DNS:$domain" -keyout "$certificates/.privkey.pem" -out "$certificates/.fullchain.pem" \
    2>/dev/null || { say "openssl cannot make one to begin with"; return; }
  swap && say "made one to begin with, which no browser trusts; the real one comes next"
}

deploy() {
  cmp -s "$live/fullchain.pem" "$certificates/fullchain.pem" && cmp -s "$live/privkey.pem" "$certificates/privkey.pem" \
    && return
  cp "$live/fullchain.pem" "$certificates/.fullchain.pem" && cp "$live/privkey.pem" "$certificates/.privkey.pem" \
    && swap && say "a new one is in place, good until $(until_when)"
}

swap() {
  mv "$certificates/.privkey.pem" "$certificates/privkey.pem" \
    && mv "$certificates/.fullchain.pem" "$certificates/fullchain.pem"
}

until_when() { openssl x509 -in "$certificates/fullchain.pem" -noout -enddate | cut -d= -f2; }

tell() {
  before=$(sed -n 's/^cluster_ai_certificate_renewal_last_success_timestamp_seconds //p' "$told" 2>/dev/null)
  [ "$1" = 1 ] && before=$(date +%s)
  {
    echo '# HELP cluster_ai_certificate_renewal_success Whether the last attempt to get or renew the certificate went well.'
    echo '# TYPE cluster_ai_certificate_renewal_success gauge'
    echo "cluster_ai_certificate_renewal_success $1"
    if [ -n "$before" ]; then
      echo '# HELP cluster_ai_certificate_renewal_last_success_timestamp_seconds When an attempt last went well.'
      echo '# TYPE cluster_ai_certificate_renewal_last_success_timestamp_seconds gauge'
      echo "cluster_ai_certificate_renewal_last_success_timestamp_seconds $before"
    fi
  } >"$told.new" && chmod 644 "$told.new" && mv "$told.new" "$told"
}

attempt() {
  if certbot certonly --config "$settings" && deploy; then
    tell 1
    return
  fi
  tell 0
  say "could not be renewed; the one in use is good until $(until_when)"
  return 1
}

mkdir -p "$certificates" "$letsencrypt" "$webroot/.well-known/acme-challenge" "$textfiles"
make_placeholder
if [ "${1:-}" = once ]; then
  attempt
  exit
fi

trap 'exit 0' TERM INT
wait_for() {
  sleep "$1" &
  wait $!
}
[ -s "$live/fullchain.pem" ] || wait_for "$first"
pause=$retry
while :; do
  if attempt; then
    pause=$retry
    chance=$(od -An -N2 -tu2 /dev/urandom | tr -d ' ') # so that not all of the world asks at once
    wait_for $((usual + ${chance:-0} % 3600))
  else
    say "next attempt in $pause s"
    wait_for "$pause"
    pause=$((pause * 2 < usual ? pause * 2 : usual))
  fi
done
