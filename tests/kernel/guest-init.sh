#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# First program of the guest, in the initramfs: puts the host's files, read-only, under a
# writable layer in RAM and goes over to them.
/bin/busybox --install -s /bin
export PATH=/bin
fail() { echo "hvo-guest: cannot $*"; poweroff -f; sleep 60; }

mkdir -p /proc /sys /host /layer /root
mount -t proc proc /proc || fail "mount proc"
mount -t sysfs sys /sys || fail "mount sysfs"
for module in /modules/*.ko; do # named so that the glob's order is the order to load them in
    [ ! -e "$module" ] || insmod "$module" || fail "insert $module"
done
mount -t virtiofs -o ro hostroot /host || fail "mount the host's root"
mount -t tmpfs -o mode=0755,size=50% layer /layer || fail "mount tmpfs"
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work root /root ||
    fail "mount the overlay"
mkdir -p /root/run
mount -t tmpfs -o mode=0755 run /root/run || fail "mount /run"
mkdir /root/run/hvo-guest
cp -r /guest/. /root/run/hvo-guest/
# Moved before anything runs there: the host's own /proc shows through the share, and /proc/self
# would be the server of the share.
mount --move /proc /root/proc || fail "move /proc"
mount --move /sys /root/sys || fail "move /sys"
exec switch_root /root /run/hvo-guest/busybox sh /run/hvo-guest/main.sh
