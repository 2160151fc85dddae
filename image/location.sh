#!/bin/sh
# Fetches the location data of the npm package ip2region into the directory
# given: ip2region.db for IPv4, ipv6wry.db for IPv6, and their licence.
set -eu

version=2.3.0
sha256=1c5777cd2fde5dceab82de858c9a2cd20304b3d50a7b5a80c48d10706020bc11

[ "$(cat "$1/version" 2>/dev/null || true)" != "$version" ] || exit 0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
(cd "$scratch" && npm pack --silent "ip2region@$version" >/dev/null)
echo "$sha256  $scratch/ip2region-$version.tgz" | sha256sum --check --quiet
tar -xzf "$scratch/ip2region-$version.tgz" -C "$scratch"
mkdir -p "$1/data"
mv "$scratch/package/data/ip2region.db" "$scratch/package/data/ipv6wry.db" "$1/data/"
mv "$scratch/package/LICENSE" "$1/"
echo "$version" >"$1/version"
