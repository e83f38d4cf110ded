#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# boot.sh DEB RPM WORK OUT HERE: boots systemd in a container with this machine's files, with all
# changes kept in memory; installs DEB there, and runs HERE/observe.py, whose notes go to OUT. It
# installs RPM after it has purged the other package.
# Run as root in a new mount namespace (unshare --mount). WORK is an empty folder.
set -euo pipefail
package=$1 rpm=$2 work=$3 out=$4 here=$5

mount --make-rprivate /
mount -t tmpfs tmpfs "$work"
mkdir "$work"/{lower,upper,scratch,root}
mount --bind / "$work/lower"
mount -t overlay overlay \
  -o "lowerdir=$work/lower,upperdir=$work/upper,workdir=$work/scratch" "$work/root"
root=$work/root

# Before it boots, it uses this machine's network to install dependencies.
mount --bind /dev "$root/dev"
mount -t proc proc "$root/proc"
cp "$package" "$root/hvoscope.deb"
cp "$rpm" "$root/hvoscope.rpm"
install="apt-get install -qqy --no-install-recommends --reinstall /hvoscope.deb"
chroot "$root" env DEBIAN_FRONTEND=noninteractive \
  sh -c "$install || { apt-get update -qq && $install; }" >"$out/install.log" 2>&1
umount "$root/proc" "$root/dev"

cp "$here/observe.py" "$here/inside_unit.py" "$root/"
mkdir "$root/observed"
echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
cat >"$root/etc/systemd/system/observe.service" <<'UNIT'
[Unit]
Wants=hvoscope.service
[Service]
Type=oneshot
StandardError=append:/observed/stderr
ExecStart=/usr/bin/python3 /observe.py /observed
ExecStopPost=/bin/systemctl --no-block exit
UNIT
cat >"$root/etc/systemd/system/observe.target" <<'UNIT'
[Unit]
Requires=basic.target
Wants=hvoscope.service observe.service
UNIT

mount -t tmpfs tmpfs /run  # nspawn writes there; keep this machine's /run unchanged
# nspawn's filter also applies to the unit, and excludes bpf() by default.
systemd-nspawn --directory="$root" --register=no --keep-unit --quiet --private-network \
  --capability=all --system-call-filter="bpf perf_event_open" \
  --boot systemd.unit=observe.target >"$out/console" 2>&1 </dev/null || true
cp "$root"/observed/* "$out/"
