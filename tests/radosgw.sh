#!/usr/bin/env bash
# Runs a command beside a throw-away Ceph RADOS Gateway, a real S3 server from Debian packages:
#
#   tests/radosgw.sh pytest -m radosgw tests/component
#
# The command finds it by CARRYON_TEST_S3_ENDPOINT, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Monitor, storage daemon
# and gateway listen on free ports of loopback and keep everything in a temporary folder; both go when the command ends,
# and the kernel ends the daemons even when this script is killed. Wants root, to install what is missing. Takes some
# 15 seconds to start, 400 MB of memory and 1 GB of disk.
set -euo pipefail

if [ $# -eq 0 ]; then
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
    exit 2
fi

packages=(radosgw ceph-mon ceph-osd ceph-common curl jq)
if ! dpkg --status "${packages[@]}" >/dev/null 2>&1; then
    if [ "$(id -u)" -ne 0 ]; then
        echo "radosgw.sh: install these first: ${packages[*]}" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

folder=$(mktemp -d "${TMPDIR:-/tmp}/radosgw.XXXXXX")
daemons=()
cleanup() {
    status=$?
    trap - EXIT
    if [ $status -ne 0 ] && [ -z "${ready:-}" ]; then
        tail -n 20 "$folder"/*.log >&2 || true
    fi
    for pid in "${daemons[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done # What they hold is thrown away.
    wait "${daemons[@]}" 2>/dev/null || true
    rm -rf "$folder"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# All sockets are open at once, so that no two get the same port.
read -r mon_v2 mon_v1 rgw < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(s.getsockname()[1] for s in sockets))')

start() { # log name, command...
    setpriv --pdeathsig KILL -- "${@:2}" </dev/null >"$folder/$1.log" 2>&1 &
    daemons+=($!)
}
await() { # seconds, command...
    local deadline=$((SECONDS + $1))
    until "${@:2}" >/dev/null 2>&1; do
        if [ $SECONDS -ge $deadline ]; then
            echo "radosgw.sh: not within $1 seconds: ${*:2}" >&2
            exit 1
        fi
        sleep 0.2
    done
}

fsid=$(cat /proc/sys/kernel/random/uuid)
osd=$(cat /proc/sys/kernel/random/uuid)
export CEPH_CONF="$folder/ceph.conf"
mkdir "$folder"/{mon,osd,rgw,run}
# cephx, because without it radosgw 16 never gets past its first request to the monitor.
cat >"$CEPH_CONF" <<CONF
[global]
fsid = $fsid
mon_host = [v2:127.0.0.1:$mon_v2,v1:127.0.0.1:$mon_v1]
public_network = 127.0.0.0/8
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
keyring = $folder/keyring
run_dir = $folder/run
admin_socket = $folder/run/\$name.asok
pid_file = $folder/run/\$name.pid
log_to_file = false
log_to_stderr = true
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mon_data_avail_crit = 1
osd_objectstore = bluestore
bluestore_block_size = 8589934592
bluestore_block_db_create = false
osd_memory_target = 939524096
[mon.a]
mon_data = $folder/mon
[osd.0]
osd_data = $folder/osd
[client.rgw.a]
rgw_data = $folder/rgw
rgw_frontends = beast endpoint=127.0.0.1:$rgw
rgw_dns_name = 127.0.0.1
rgw_thread_pool_size = 64
CONF

{
    cd "$folder"
    ceph-authtool --create-keyring keyring --gen-key -n mon. --cap mon 'allow *'
    ceph-authtool keyring --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
    ceph-authtool keyring --gen-key -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
    ceph-authtool keyring --gen-key -n client.rgw.a --cap mon 'allow *' --cap osd 'allow *'
    monmaptool --create --addv a "[v2:127.0.0.1:$mon_v2,v1:127.0.0.1:$mon_v1]" --fsid "$fsid" monmap
    ceph-mon --mkfs -i a --monmap monmap --keyring keyring
    start mon ceph-mon -f -i a
    await 30 timeout 5 ceph status
    ceph osd new "$osd"
    ceph auth import -i keyring
    ceph-osd --mkfs -i 0 --osd-uuid "$osd"
    start osd ceph-osd -f -i 0
    await 60 bash -c 'ceph osd stat -f json | jq -e ".num_up_osds == 1"'
    start rgw radosgw -f -n client.rgw.a
    await 60 curl -fs "http://127.0.0.1:$rgw/"
    radosgw-admin user create --uid carryon --display-name carryon --access-key carryon --secret-key carryoncarryon
    cd "$OLDPWD"
} >"$folder/setup.log" 2>&1
ready=yes

CARRYON_TEST_S3_ENDPOINT="http://127.0.0.1:$rgw" AWS_ACCESS_KEY_ID=carryon AWS_SECRET_ACCESS_KEY=carryoncarryon \
    "$@"
