#!/usr/bin/env bash
# packaging/tree.sh BINARY OUT: the file tree of the container image, for packaging/Dockerfile and for
# packaging/check, which runs it under chroot.
#
#   OUT/root   belongs to root: the binary, a shell, busybox and the libraries they need
#   OUT/user   belongs to the user of the broker: scripts, and the places that are written or mounted to
#
# Everything but ours comes from the machine this runs on (Debian, with busybox-static); the copyright files of
# its packages come along.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=$1 out=$2

rm -rf "$out"
mkdir -p "$out"
cp -a "$here/image/root" "$here/image/user" "$out/"
root=$out/root user=$out/user
mkdir -p "$root"/{bin,dev,lib,lib64,proc,run,sys,tmp,usr/bin,usr/sbin,usr/local/bin,usr/share/doc,var/run}
chmod 1777 "$root/tmp"
mkdir -p "$user"/{etc/kafka/secrets,home/appuser,mnt/shared/config,var/lib/kafka/data,opt/kafka/logs}

# Takes a program of this machine with the libraries it is linked to.
take() { # PROGRAM TARGET
  local library
  install -m 755 "$1" "$2"
  # A static one has none, and ldd says so with an error.
  for library in $(ldd "$1" 2>/dev/null | grep -o '/[^ ]*' || true); do
    [ -e "$root$library" ] || install -D -m 755 "$(realpath "$library")" "$root$library"
    copyright "$library"
  done
}

copyright() {
  local package
  package=$(dpkg -S "$(realpath "$1")" 2>/dev/null || dpkg -S "$1" 2>/dev/null) || return 0
  package=${package%%:*}
  [ ! -f "/usr/share/doc/$package/copyright" ] ||
    install -D -m 644 "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/copyright"
}

take "$binary" "$root/usr/bin/jackdaw"
take "$(command -v bash)" "$root/bin/bash"
ln -s bash "$root/bin/sh"
busybox=$(command -v busybox)
take "$busybox" "$root/bin/busybox"
copyright "$(command -v bash)"
copyright "$busybox"
for name in $("$busybox" --list); do
  case $name in
    sh | ash | bash | busybox) ;;
    *) ln -s /bin/busybox "$root/usr/bin/$name" ;;
  esac
done
# Kafka's tools have an ending, Confluent's have none.
for tool in "$user"/opt/kafka/bin/*.sh; do
  ln -s "$(basename "$tool")" "${tool%.sh}"
done
mkdir -p "$user/opt/kafka/config/kraft"
ln -sf ../server.properties "$user/opt/kafka/config/kraft/server.properties"
