//go:build image

package image_test

import (
	"strings"
	"testing"
)

// sources make an RPM system of a Debian, as far as provision.sh can tell: dnf, a
// repository with an engine that is two files, and no apt-get.
const sources = `
apt-get update -qq && apt-get install -y -qq --no-install-recommends dnf rpm createrepo-c >/dev/null
mkdir -p /repo /etc/yum.repos.d
cat >/repo/all.spec <<'END'
Name: moby-engine
Version: 25
Release: 1
Summary: An engine
License: Apache-2.0
BuildArch: noarch
Provides: /bin/sh
%description
It stands in an engine's place.
%package -n ca-certificates
Summary: -
%description -n ca-certificates
-
%package -n logrotate
Summary: -
%description -n logrotate
-
%package -n podman-docker
Summary: -
Provides: docker
%description -n podman-docker
It says it is docker, and is not.
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/usr/lib/systemd/system
printf '#!/bin/sh\n' >%{buildroot}/usr/bin/dockerd
printf '[Service]\nExecStart=/usr/bin/dockerd\n[Install]\nWantedBy=multi-user.target\n' >%{buildroot}/usr/lib/systemd/system/docker.service
%files
%attr(0755,root,root) /usr/bin/dockerd
/usr/lib/systemd/system/docker.service
%files -n ca-certificates
%files -n logrotate
%files -n podman-docker
END
rpmbuild --quiet -bb --define '_rpmdir /repo' /repo/all.spec
createrepo_c --quiet /repo
printf '[local]\nname=local\nbaseurl=file:///repo\ngpgcheck=0\n' >/etc/yum.repos.d/local.repo
mv /usr/bin/apt-get /usr/bin/apt-get.away
# Its package enables units by the distribution's presets, and Fedora's are these.
mkdir -p /usr/lib/systemd/system-preset
echo 'disable *' >/usr/lib/systemd/system-preset/99-default-disable.preset`

// TestRPM: where nothing is enabled by itself, all units are; an older version
// replaces a newer one; and only an engine is taken for one.
func TestRPM(t *testing.T) {
	r := newRoot(t)
	r.run(t, true, "set -e"+sources)
	for path, text := range used {
		r.write(t, path, text, 0o600)
	}
	r.write(t, "etc/fstab", "/swapfile none swap sw 0 0\n", 0o644)
	r.run(t, true, "./provision.sh --package quaymaster-*.rpm")
	r.checkImage(t)
	if said := r.run(t, false, "rpm -q moby-engine quaymaster ca-certificates logrotate"); strings.Contains(said, "not installed") {
		t.Error(said)
	}
	r.run(t, false, "./provision.sh --package quaymaster-*.rpm")

	r.run(t, false, "rm /repo/noarch/moby-engine* && createrepo_c --quiet /repo && rpm -e moby-engine")
	if said, err := r.try(false, "./provision.sh --package quaymaster-*.rpm"); err == nil || !strings.Contains(said, "no source of packages has docker-ce, moby-engine or docker") {
		t.Errorf("something else was taken for an engine: %v\n%s", err, said)
	}
}
