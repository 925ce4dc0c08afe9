# Puts one version on this host, and goes back to the one before when it does not come up.
#
#   sh install.sh FOLDER SOURCE VERSION NAME=IMAGE@sha256:DIGEST ...
#
# FOLDER is the installation (that of cluster-ai.yml), SOURCE a clone of the repository. Each image is fetched by its digest,
# which was signed, and is then called NAME:VERSION here, as the compose files name it.
set -eu
folder=$1 source=$2 version=$3
shift 3

say() { printf 'install: %s\n' "$*"; }
fail() { say "$*" >&2; exit 1; }

case $version in *[!0-9.]* | '') fail "no version: $version" ;; esac
[ -f "$folder/cluster-ai.yml" ] || fail "there is no $folder/cluster-ai.yml"
for image in "$@"; do
  case $image in
    ?*=?*@sha256:????????????????????????????????????????????????????????????????) ;;
    *) fail "an image without its digest: $image" ;;
  esac
done

git -C "$source" diff --quiet HEAD || fail "$source was changed by hand: commit that elsewhere, or undo it"
before=$(git -C "$source" describe --tags --exact-match HEAD 2>/dev/null || git -C "$source" rev-parse HEAD)

start() {
  git -C "$source" -c advice.detachedHead=false checkout --quiet --detach "$1" \
    && make --silent -C "$source" .venv/.runtime \
    && "$source/.venv/bin/cluster-ai" deploy up --config "$folder/cluster-ai.yml"
}

git -C "$source" fetch --quiet --tags origin
git -C "$source" rev-parse --quiet --verify "refs/tags/v$version^{commit}" >/dev/null || fail "there is no tag v$version"
for image in "$@"; do
  docker pull --quiet "${image#*=}" >/dev/null
  docker tag "${image#*=}" "${image%%=*}:$version"
done

# The database cannot be led back once a newer Grafana has changed its tables; what was there before can be restored.
ours=label=com.docker.compose.project=cluster-ai
backup=$(docker ps --quiet --filter "$ours" --filter label=com.docker.compose.service=backup | head -n 1)
if [ -n "$backup" ]; then
  docker exec "$backup" cluster-ai backup now --config "$folder/cluster-ai.yml" || fail "no backup, no change"
fi

if start "v$version"; then
  say "$version runs; before it was $before"
  exit 0
fi
say "$version does not come up: back to $before" >&2
start "$before" || fail "$before does not come up either: see docs/releasing.md, \"When nothing comes up\""
fail "$before runs again"
