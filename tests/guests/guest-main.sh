# SPDX-License-Identifier: Apache-2.0
# Second half of the guest's start, on the root it keeps: mounts, links, the command, power-off.
# spec.sh sets `out`, and defines `links`, which calls link() with what must appear where.
here=/run/hvo-guest
mkdir $here/bin
$here/busybox --install -s $here/bin
export PATH=$here/bin # busybox only: starts faster than the host's programs through the share
fail() { echo "hvo-guest: cannot $*"; poweroff -f; sleep 60; }
link() { # path in the guest, directory of the host
    mkdir -p "${1%/*}"
    rm -rf "$1" # in the layer above the host's files only
    ln -s "$2" "$1" || fail "link $1"
}

mount -t devtmpfs -o mode=0755 dev /dev || fail "mount /dev"
mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=0620,ptmxmode=0666 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
ln -sf /proc/self/fd /dev/fd
for n in 0:stdin 1:stdout 2:stderr; do ln -sf "/proc/self/fd/${n%:*}" "/dev/${n#*:}"; done
mount -t debugfs debugfs /sys/kernel/debug || fail "mount debugfs"
known() { grep -qw "$1" /proc/filesystems; } # a kernel built here may have less
! known tracefs || mount -t tracefs tracefs /sys/kernel/tracing || fail "mount tracefs"
! known bpf || mount -t bpf -o mode=0700 bpffs /sys/fs/bpf || fail "mount bpffs"
# /tmp stays the overlay's: private to the guest, and a checkout or venv below it remains in sight.

. $here/spec.sh
links
mkdir -p "$out"
mount -t virtiofs out "$out" || fail "mount $out"
hostname hvo-guest
[ ! -d /proc/sys/net/ipv4 ] || ifconfig lo 127.0.0.1 up || fail "bring up lo"
/bin/sh $here/command.sh </dev/null >"$out/stdout.log" 2>"$out/stderr.log"
code=$?
echo "$code" >"$out/exit-code"
sync
poweroff -f
sleep 30
reboot -f
