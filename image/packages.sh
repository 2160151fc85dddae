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
# What comes with services is for the tests' own: none of them starts now, by
# invoke-rc.d's policy, or with the machine.
policy=/usr/sbin/policy-rc.d
restore() {
	[ -z "${ours:-}" ] || rm -f "$policy"
	[ -d /run/systemd/system ] || return 0
	for service in rabbitmq-server zabbix-server:zabbix-server-pgsql zabbix-agent postgresql; do
		case " $missing " in *" ${service#*:} "*) systemctl disable --quiet "${service%:*}" || true ;; esac
	done
}
trap restore EXIT
trap 'exit 1' HUP INT TERM
if [ ! -e "$policy" ]; then
	ours=yes
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
