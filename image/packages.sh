#!/bin/sh
# Installs the Debian packages given as arguments that are missing, if run by
# root; says what to run otherwise. Services that come with them are not started.
set -eu

missing=
for package in "$@"; do
	case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true) in
	*" ok installed") ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
	echo "missing packages, please run: sudo apt-get install --no-install-recommends$missing" >&2
	exit 1
fi
echo "installing Debian packages:$missing"
if [ -d /run/systemd/system ]; then # a broker of the machine's own is not ours to start
	restore() {
		systemctl unmask --runtime --quiet rabbitmq-server epmd.socket || true
		case $missing in *rabbitmq-server*) systemctl disable --quiet rabbitmq-server || true ;; esac
	}
	trap restore EXIT
	trap 'exit 1' HUP INT TERM
	systemctl mask --runtime --quiet rabbitmq-server epmd.socket || true
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
