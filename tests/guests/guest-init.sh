#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# First program of the guest, in the initramfs: puts the host's files, read-only, under a
# writable layer in RAM and goes over to them. A kernel without overlayfs has a root in RAM, into
# which the host's directories are bound.
/bin/busybox --install -s /bin
export PATH=/bin
fail() { echo "hvo-guest: cannot $*"; poweroff -f; sleep 60; }
overlaid() {
    mkdir /layer/upper /layer/work
    mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work root /root ||
        fail "mount the overlay"
}
mirror() { # directory below the root, its mode: what the host has there, in a directory in RAM
    mount -t tmpfs -o "mode=$2" layer "/root/$1" || fail "mount /$1"
    for entry in "/host/$1"* "/host/$1".[!.]*; do
        at="/root/$1${entry##*/}"
        case $entry in /host/proc | /host/sys | /host/dev | /host/run) mkdir "$at"; continue ;; esac
        if [ -h "$entry" ]; then
            cp -P "$entry" "$at"
        elif [ -d "$entry" ]; then
            mkdir "$at" && mount --bind "$entry" "$at" || fail "bind $entry"
        elif [ -e "$entry" ]; then
            : >"$at" && mount --bind "$entry" "$at" || fail "bind $entry"
        fi
    done
}
bound() {
    mirror "" 0755
    for dir in root/ usr/lib/ usr/src/ var/cache/ var/lib/; do
        [ ! -d "/host/$dir" ] || mirror "$dir" 0755
    done
    mirror tmp/ 1777
}

mkdir -p /proc /sys /host /layer /root
mount -t proc proc /proc || fail "mount proc"
mount -t sysfs sys /sys || fail "mount sysfs"
for module in /modules/*.ko; do # named so that the glob's order is the order to load them in
    [ ! -e "$module" ] || insmod "$module" || fail "insert $module"
done
mount -t virtiofs -o ro hostroot /host || fail "mount the host's root"
mount -t tmpfs -o mode=0755,size=50% layer /layer || fail "mount tmpfs"
if grep -q overlay /proc/filesystems; then overlaid; else bound; fi
mkdir -p /root/run
mount -t tmpfs -o mode=0755 run /root/run || fail "mount /run"
mkdir /root/run/hvo-guest
cp -r /guest/. /root/run/hvo-guest/
# Moved before anything runs there: the host's own /proc shows through the share, and /proc/self
# would be the server of the share.
mount --move /proc /root/proc || fail "move /proc"
mount --move /sys /root/sys || fail "move /sys"
exec switch_root /root /run/hvo-guest/busybox sh /run/hvo-guest/main.sh
