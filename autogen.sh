#!/bin/sh
# Makes configure from configure.ac; needs autoconf, automake, libtool, pkg-config.
set -eu
cd "$(dirname "$0")"
mkdir -p m4
exec autoreconf -i "$@"
