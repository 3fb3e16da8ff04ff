#!/bin/sh
# Cross-builds Quern and its tests for aarch64: tools/arm64.sh DIR. The libraries are Debian's arm64 packages, unpacked into
# DIR/sysroot beside the system and not into it; programs then run as `qemu-aarch64 -L DIR/sysroot DIR/quern`.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
to=$1
mkdir -p "$to"
to=$(cd "$to" && pwd)
root=$to/sysroot

if [ ! -f "$root/complete" ]; then
    state=$to/apt
    mkdir -p "$state/lists/partial" "$state/archives/partial" "$root"
    : >"$state/status"
    set -- -q -y -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State::Lists="$state/lists" \
        -o Dir::State::status="$state/status" -o Dir::Cache::archives="$state/archives" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o Debug::NoLocking=1 -o APT::Sandbox::User=root
    apt-get "$@" update
    apt-get "$@" --no-install-recommends --download-only install libc6-dev libmicrohttpd-dev libwslay-dev libuv1-dev \
        libjansson-dev libpcre2-dev libutf8proc-dev libyaml-dev libedit-dev libcurl4-openssl-dev libssl-dev libcmocka-dev
    for deb in "$state"/archives/*.deb; do dpkg -x "$deb" "$root"; done
    # Links such as libm.so → /lib/… are meant from the root of the packages, not of this machine.
    find "$root" -type l | while read -r link; do
        case $(readlink "$link") in /*) ln -sfn "$root$(readlink "$link")" "$link" ;; esac
    done
    rm -rf "$state"
    : >"$root/complete"
fi

cat >"$to/cross.ini" <<END
[binaries]
c = ['aarch64-linux-gnu-gcc', '--sysroot=$root']
ar = 'aarch64-linux-gnu-ar'
strip = 'aarch64-linux-gnu-strip'
pkgconfig = 'pkg-config'
exe_wrapper = ['qemu-aarch64', '-L', '$root']
[properties]
sys_root = '$root'
pkg_config_libdir = '$root/usr/lib/aarch64-linux-gnu/pkgconfig:$root/usr/share/pkgconfig'
[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
END
[ -f "$to/build.ninja" ] || meson setup "$to" "$here" -Dcuda=disabled --cross-file "$to/cross.ini"
ninja -C "$to" quern meson-test-prereq
