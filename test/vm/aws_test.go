//go:build vm

package vm_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
	"github.com/quaymaster/quaymaster/test/realvault"
	"github.com/quaymaster/quaymaster/test/vm/machine"
)

const account, region = "123456789012", "eu-west-1"

// ec2 is what the firmware of an instance says.
var ec2 = machine.Identity{"type=1,manufacturer=Amazon EC2,product=t3.small,serial=ec2e1916-9099-7caf-fd21-012345abcdef,uuid=ec2e1916-9099-7caf-fd21-012345abcdef"}

// onEC2 is an instance with a role that the Vault outside takes.
func onEC2(t *testing.T, instance awssim.Instance) (*outside, *awssim.IMDS) {
	t.Helper()
	aws := awssim.NewAccount(account, cloudsim.NewEnvironment(nil, nil))
	aws.AddRole("/", role)
	instance.ID, instance.Region, instance.AvailabilityZone, instance.MAC = "i-0abc1234def567890", region, region+"a", machine.MAC
	o := newOutside(t)
	if err := errors.Join(
		o.vault.EnableAWS(t.Context(), realvault.AWSAuth{Mount: "aws", STS: "http://" + serve(t, awssim.NewSTS(aws, "us-east-1")), ServerID: serverID}),
		o.vault.WriteIAMRole(t.Context(), realvault.IAMRole{Mount: "aws", Name: role, Principal: "arn:aws:iam::" + account + ":role/" + role, Policies: []string{role}, TTL: hour}),
	); err != nil {
		t.Fatal(err)
	}
	return o, awssim.NewIMDS(aws, instance)
}

// TestAWS is the whole life of a host: first boot, a reboot without Vault,
// upgrade, downgrade, removal.
func TestAWS(t *testing.T) {
	o, imds := onEC2(t, awssim.Instance{Role: role})
	imds.SetUserData(o.userData(t, vaultBlock(nil)+grants))
	s := boot(t, machine.Options{Identity: ec2, Forwards: o.forwards(t, imds)})

	s.firstBoot(o, "DataSourceEc2")
	s.isAsItShould()
	s.rebootWithoutVault(o)
	s.upgrade(o)
	s.remove(o)
}

// firstBoot: from an image that nobody has configured to a service that had its
// secret at its first instruction.
func (s *story) firstBoot(o *outside, datasource string) {
	s.t.Helper()
	s.await("systemctl is-active -q quaymaster.service", "the agent is ready")
	s.await(isUp, "a container without labels runs")
	s.await(o.hasSecret(), "the service had its secret at its first instruction")
	s.await(cloudInitDone, "cloud-init is done")
	s.is("grep -o 'DataSource[A-Za-z0-9]*' /run/cloud-init/result.json | sed 's/Local$//'; grep -A1 '\"errors\"' /run/cloud-init/result.json | tr -d ' \n'", datasource+"\n\"errors\":[]}")
	s.await("systemctl is-active -q multi-user.target && ! systemctl is-active -q quaymaster-doctor.service", "the boot is over, and the doctor has looked")
	if datasource != "DataSourceNoCloud" { // found by the firmware, and not because it was told
		s.run("grep 'Found single datasource: ' /run/cloud-init/ds-identify.log")
	}
	if console := s.machine.Console(); !strings.Contains(console, "quaymaster: this host is ready: ") {
		s.t.Error("the console does not say that the host is ready")
	}
}

// isAsItShould looks at what the package promises of a host.
func (s *story) isAsItShould() {
	s.t.Helper()
	s.is("dpkg --verify quaymaster", "")
	s.is("systemctl --failed --no-legend | grep quaymaster || true", "")
	s.is("stat -c '%a %U %n' /etc/quaymaster/quaymaster.yaml /run/quaymaster /var/lib/quaymaster /var/log/quaymaster /usr/bin/quaymaster /usr/bin/quaymaster-runtime",
		"600 root /etc/quaymaster/quaymaster.yaml\n711 root /run/quaymaster\n700 root /var/lib/quaymaster\n700 root /var/log/quaymaster\n755 root /usr/bin/quaymaster\n755 root /usr/bin/quaymaster-runtime")
	s.is("findmnt -no FSTYPE /run/quaymaster/memory && swapon --show --noheadings", "tmpfs")
	s.is("systemctl show -p After docker.service | tr ' ' '\\n' | grep -x quaymaster.service", "quaymaster.service")
	s.told("files, mounts and order are as the package says")
	for unit, limit := range map[string]float64{"quaymaster.service": 4.0, "quaymaster-configure.service": 1.8, "quaymaster-doctor.service": 3.0} {
		said := s.run("systemd-analyze security --no-pager " + unit + " | tail -n 1 | grep -o '[0-9][0-9.]* ' | tail -n 1")
		if score, err := strconv.ParseFloat(strings.TrimSpace(said), 64); err != nil || score > limit {
			s.t.Errorf("%s is exposed by %q (%v); claimed are %.1f", unit, said, err, limit)
		}
	}
	s.told("units are no more exposed than claimed")
	s.isWell()
}

// finding is a line of quaymaster doctor --json.
type finding struct{ Check, Status, Found, Remedy string }

func (s *story) doctor() (findings []finding) {
	s.t.Helper()
	out := s.run("quaymaster doctor --json; [ $? -le 3 ]")
	if err := json.Unmarshal([]byte(out), &findings); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	return findings
}

// isWell: the doctor finds nothing that failed. It may look twice, for what a
// crowded machine answers too late.
func (s *story) isWell() {
	s.t.Helper()
	s.await("quaymaster doctor", "doctor finds nothing wrong")
}

// rebootWithoutVault: nothing hangs, nothing runs without its secret, and all
// is well again by itself.
func (s *story) rebootWithoutVault(o *outside) {
	s.t.Helper()
	o.door.Shut()
	s.reboot()
	s.await("systemctl is-active -q quaymaster.service", "reboot, Vault away: the agent is ready")
	s.await(isUp, "reboot, Vault away: the container without labels runs")
	s.await("systemctl is-active -q multi-user.target", "reboot, Vault away: the boot is over")
	s.is(runs, "false")
	s.await("! systemctl is-active -q quaymaster-doctor.service", "reboot, Vault away: the doctor has looked")
	if _, said, _ := strings.Cut(s.lastBoot(), "quaymaster: failed: "); !strings.Contains(said, vaultsPlace) {
		s.t.Error("the console does not say that Vault is away")
	}
	s.is(runs, "false")
	s.is("docker logs "+container+" | wc -l", "1") // its command ran once, before the reboot
	o.door.Open()
	s.await(o.hasSecret(), "reboot, Vault back: the service had its secret at its first instruction")
}

// lastBoot is what the console said since the last boot.
func (s *story) lastBoot() string {
	console := s.machine.Console()
	return console[strings.LastIndex(console, "Linux version"):]
}

// running is the version of the agent that runs.
const running = `/proc/$(systemctl show -P MainPID quaymaster)/exe --version`

// upgrade: another version comes and goes, and no container notices.
func (s *story) upgrade(o *outside) {
	s.t.Helper()
	before := s.run(id)
	for _, step := range [][2]string{{newer, "newer"}, {older, "older"}} {
		s.run("dpkg -i /opt/vm/" + step[1] + ".deb")
		s.is("dpkg-query -f '${Version} ' -W quaymaster; "+running+" | grep -o '[0-9][0-9.]*' | head -n 1", step[0]+"-1 "+step[0])
		s.is(id, before)
		s.await(o.seesSecret(), "%s: the service sees its secret", step[0])
		o.put(s.t)
		s.await(o.seesSecret(), "%s: the service sees a new value", step[0])
		s.is(id, before)
		s.run("docker exec " + container + " true && docker run --rm images.test/busybox true")
	}
	s.isWell()
}

// runtimeLeft is what a removal leaves for containers that run, until the next
// boot.
const runtimeLeft = `ls /etc/tmpfiles.d/quaymaster-removed.conf /usr/bin/quaymaster-runtime 2>/dev/null || true`

// remove: what runs goes on, and nothing of ours stays.
func (s *story) remove(o *outside) {
	s.t.Helper()
	before := s.run(id)
	s.run("dpkg -r quaymaster")
	s.is(id, before)
	s.await(o.seesSecret(), "removed: the service sees its secret")
	s.is("grep -s quaymaster /etc/docker/daemon.json || true", "")
	s.run("docker run --rm images.test/busybox true")
	s.run("dpkg -P quaymaster")
	s.is(id, before)
	s.is(runtimeLeft, "/etc/tmpfiles.d/quaymaster-removed.conf\n/usr/bin/quaymaster-runtime") // it is still needed
	s.run("docker stop -t 1 " + container)
	s.is("find /etc/quaymaster /var/lib/quaymaster /var/log/quaymaster /run/quaymaster /usr/bin/quaymaster /etc/systemd/system/*/quaymaster* /usr/lib/systemd/system/quaymaster* -type f 2>/dev/null | sort || true",
		"/etc/quaymaster/conf.d/10-host.yaml\n"+ca)
	s.is("findmnt -rno TARGET | grep ^/run/quaymaster || true", "")
	s.told("purged: only the operator's own files are left")
	s.run("systemctl restart docker")
	s.await(isUp, "purged, Docker restarted: the container without labels runs")
	s.reboot()
	s.await(isUp, "rebooted without Quaymaster: the container without labels runs")
	s.is(runtimeLeft, "")
}

// TestAWSByTags: the image holds the grants, and tags say where Vault is.
func TestAWSByTags(t *testing.T) {
	o, imds := onEC2(t, awssim.Instance{Role: role, Tags: map[string]string{
		"quaymaster-vault-address": "https://" + vaultsPlace, "quaymaster-vault-role": role, "quaymaster-vault-server-id": serverID,
		"quaymaster-vault-ca-file": ca, "quaymaster-vault-tls-server-name": "localhost", "Name": "docker-1",
	}})
	imds.SetUserData(o.userData(t, grants))
	s := boot(t, machine.Options{Identity: ec2, Forwards: o.forwards(t, imds)})
	s.firstBoot(o, "DataSourceEc2")
	s.isWell()
	if f := s.find("configuration"); !strings.Contains(f.Found, "vault from the tags of i-0abc1234def567890") {
		t.Errorf("%+v", f)
	}
}

func (s *story) find(check string) finding {
	s.t.Helper()
	findings := s.doctor()
	i := slices.IndexFunc(findings, func(f finding) bool { return f.Check == check })
	if i < 0 {
		s.t.Fatalf("doctor says nothing of %s: %+v", check, findings)
	}
	return findings[i]
}

// TestBoots are those at which something is wrong: none of them hangs, what
// wants no secret runs, and both console and doctor say what is wrong.
func TestBoots(t *testing.T) {
	for name, c := range map[string]struct {
		instance    awssim.Instance
		changes     map[string]string // of the vault block
		off         bool              // the metadata is
		check, said string            // what the doctor finds wrong
	}{
		"NoAddress":     {instance: awssim.Instance{Role: role}, changes: map[string]string{"address": ""}, check: "configuration", said: "vault.address"},
		"NoSuchRole":    {instance: awssim.Instance{Role: role}, changes: map[string]string{"role": "nobody"}, check: "login vault", said: "nobody"},
		"WrongRegion":   {instance: awssim.Instance{Role: role}, changes: map[string]string{"sts_region": "eu-central-1"}, check: "login vault", said: "eu-central-1"},
		"NoIdentity":    {instance: awssim.Instance{}, check: "identity", said: "instance profile"},
		"NoMetadata":    {instance: awssim.Instance{Role: role}, off: true, check: "identity", said: "metadata"},
		"NotConfigured": {instance: awssim.Instance{Role: role}, changes: map[string]string{"": ""}, check: "configuration", said: "is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			o, imds := onEC2(t, c.instance)
			options := machine.Options{Identity: ec2, Forwards: o.forwards(t, imds)}
			configuration := vaultBlock(c.changes) + grants
			if _, none := c.changes[""]; none {
				configuration = ""
			}
			imds.SetUserData(o.userData(t, configuration))
			if c.off {
				imds.Set("/", awssim.TurnedOff)
				options.Seed = seed(t, o.userData(t, configuration))
			}
			boot(t, options).isWrong(c.check, c.said)
		})
	}
}

// isWrong is a boot at which a check of the doctor fails and says this.
func (s *story) isWrong(check, said string) {
	s.t.Helper()
	s.await(isUp, "a container without labels runs")
	s.await("systemctl is-active -q multi-user.target && ! systemctl is-active -q quaymaster-doctor.service", "the boot is over, and the doctor has looked")
	s.await(cloudInitDone, "cloud-init is done")
	if f := s.find(check); f.Status != "failed" || !strings.Contains(f.Found+f.Remedy, said) || f.Remedy == "" {
		s.t.Errorf("doctor: %+v: does not say %q", f, said)
	}
	wrong := false
	for line := range strings.Lines(s.machine.Console()) {
		wrong = wrong || strings.Contains(line, "quaymaster: failed: "+check) && strings.Contains(line, said)
	}
	if !wrong {
		s.t.Errorf("no line of the console says that %s failed, and %q", check, said)
	}
	if got := s.run("docker ps -q --filter label=com.docker.compose.service=timeline"); got != "" {
		s.t.Error("the service runs without its secret")
	}
	s.told("console and doctor say what is wrong, and the service does not run")
}

// seed is a directory from which cloud-init's NoCloud datasource reads.
func seed(t *testing.T, userData string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := errors.Join(
		writeFile(dir, "user-data", userData),
		writeFile(dir, "meta-data", "instance-id: seeded\nlocal-hostname: docker-1\n"),
	); err != nil {
		t.Fatal(err)
	}
	return dir
}
