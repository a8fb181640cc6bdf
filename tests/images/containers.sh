#!/usr/bin/env bash
# Builds both images without a registry, from a base that is made of Debian's packages, and runs what is given with
# their names in CARRYON_TEST_IMAGES. Needs root, and Debian; what is missing is installed.
#
#   tests/images/containers.sh python -m pytest -m images
set -euo pipefail
repository=$(cd "$(dirname "$0")/../.." && pwd)
work=${CARRYON_IMAGES_WORK:-/var/tmp/carryon-images}
base=localhost/carryon-test-base:1

needed=(podman buildah runc catatonit containernetworking-plugins debootstrap)
missing=()
for package in "${needed[@]}"; do
    dpkg -s "$package" > /dev/null 2>&1 || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
fi
mkdir -p "$work"

# Inside containers too, limits may not be raised; and not every machine has the cgroups that the defaults want.
cat > "$work/containers.conf" << END
[containers]
default_ulimits = ["nofile=$(ulimit -Hn):$(ulimit -Hn)", "nproc=32768:32768"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
END
export CONTAINERS_CONF="$work/containers.conf"

# Stands in for the python image that the Dockerfiles name: the same Debian, with Debian's own Python.
if ! podman image exists "$base"; then
    if [ ! -e "$work/base.tar" ]; then
        rm -rf "$work/base"
        debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates \
            bookworm "$work/base" > "$work/debootstrap.log"
        # Docker's own python image has no such mark: there pip may install into the system.
        rm -f "$work/base"/usr/lib/python3*/EXTERNALLY-MANAGED
        rm -rf "$work/base/var/cache/apt/archives"/*.deb "$work/base/var/lib/apt/lists"/*
        tar -C "$work/base" -cf "$work/base.tar.part" .
        mv "$work/base.tar.part" "$work/base.tar"
        rm -rf "$work/base"
    fi
    podman import --quiet "$work/base.tar" "$base" > /dev/null
fi

# pip in there sees the packages that pip here sees: its settings, what they point at, and who is trusted.
python3 -m pip config list | sed -n "s/^\(global\|install\|:env:\)\.\([a-z-]*\)='\(.*\)'\$/\2 = \3/p" \
    | awk 'BEGIN { print "[global]" } !seen[$1]++' | sed 's/\\n/ /g' > "$work/pip.conf"
mounts=(--volume /etc/ssl/certs:/etc/ssl/certs:ro --volume "$work/pip.conf:/etc/pip.conf:ro")
# The pages of an index lead to files beside it.
for place in $(grep -oE '(file://)?/[^ ]+' "$work/pip.conf" | sed -E 's|^file://(.*)/[^/]+/?$|\1|' | grep -v '^//' | sort -u); do
    [ ! -d "$place" ] || mounts+=(--volume "$place:$place:ro")
done

build() { # name, then arguments of the build
    local name=$1
    shift
    echo "building $name" >&2
    buildah bud --quiet --isolation chroot --pull-never --layers "${mounts[@]}" --build-arg "BASE=$base" --tag "$name" "$@" > /dev/null
}

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$repository/pyproject.toml")
control=localhost/carryon-test:$version worker=localhost/carryon-test-worker:$version own=localhost/carryon-test-own:$version
team=localhost/carryon-test-team:$version
build "$control" --build-arg "VERSION=$version" "$repository"
# The build of torch that is installed here: 2.13.0+cpu, or without a plus what PyPI has.
torch=$(python3 -c 'from importlib.metadata import version; print(version("torch"))')
case "$torch" in *+*) variant=${torch##*+} ;; *) variant=cuda ;; esac
build "$worker" --build-arg "VERSION=$version" --build-arg "VARIANT=$variant" \
    --file "$repository/worker-image/Dockerfile" "$repository"

# An image of somebody's own, as docs/how-to/own-image.md has it, on one that has torch already, as theirs do.
rm -rf "$work/team" "$work/own" && mkdir -p "$work/team" "$work/own"
printf 'FROM %s\nRUN pip install --no-cache-dir torch==%s\n' "$base" "$torch" > "$work/team/Dockerfile"
build "$team" "$work/team"
python3 -m pip wheel --quiet --no-deps --wheel-dir "$work/own" "$repository"
sed -n '/^```dockerfile$/,/^```$/p' "$repository/docs/how-to/own-image.md" | sed '/^```/d' \
    | sed "s|^FROM .*|FROM $team|" > "$work/own/Dockerfile"
build "$own" "$work/own"

export CARRYON_TEST_IMAGES="$control $worker $own"
cd "$repository"
"$@"
